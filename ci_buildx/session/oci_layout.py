"""An OCI image layout on disk (OCI image specification 1.1, ``image-layout.md``): blobs by digest.

A blob gets its name only when it is complete and matches its digest; incomplete blobs are in ``ingest``, like in
containerd (containerd 2.4, ``plugins/content/local/store.go``).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.session.call import GrpcStatus

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_DEFAULT = "sha256"


class LayoutRefusal(Exception):
    """A request that a layout cannot satisfy; ``status`` is the gRPC code for the reason."""

    def __init__(self, status: GrpcStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class OciLayout:
    """The layout in ``folder``; buildkitd may write to it only if ``writable``."""

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        self.writable = writable

    def has(self, digest: str) -> bool:
        """Return whether a blob exists. Raises LayoutRefusal for an invalid digest."""
        return self._make_path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading. Raises LayoutRefusal if it is missing."""
        try:
            return self._make_path(digest).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise LayoutRefusal(GrpcStatus.NOT_FOUND, f"{digest} is not in {self.folder}") from None

    def ingest(self, expected: str) -> BlobIngest:
        """Begin to write a blob; ``expected`` is its digest, "" if it is unknown.

        Raises LayoutRefusal if the layout is read-only or the digest invalid.
        """
        if not self.writable:
            raise LayoutRefusal(GrpcStatus.INVALID_ARGUMENT, f"{self.folder} is read-only")
        algorithm = _split_digest(expected)[0] if expected else _DEFAULT
        return BlobIngest(self, algorithm)

    def place(self, partial: Path, digest: str) -> None:
        """Rename a complete blob to its final path. Raises LayoutRefusal if a link leads that out of the layout."""
        path = self._make_path(digest)
        self.make_folder(path.parent)
        partial.replace(path)

    def make_folder(self, path: Path) -> None:
        """Create a folder of the layout. Raises LayoutRefusal if a link of a stranger leads out of the layout."""
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise LayoutRefusal(GrpcStatus.FAILED_PRECONDITION, f"{path} leads out of {self.folder} by a symbolic link")
        path.mkdir(parents=True, exist_ok=True)

    def _make_path(self, digest: str) -> Path:
        return self.folder.joinpath("blobs", *_split_digest(digest))


class BlobIngest:
    """A blob being written; as a context manager, it deletes an uncommitted blob on exit."""

    def __init__(self, layout: OciLayout, algorithm: str) -> None:
        self._layout = layout
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._place = layout.folder / "ingest" / "blob"
        self.offset = 0

    def __enter__(self) -> Self:
        self._layout.make_folder(self._place.parent)
        self._stream = scratch.open_partial(self._place)
        self._partial = Path(self._stream.name)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # closing fails again if the disk is full
            self._stream.close()
        self._partial.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """The digest of the bytes written so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append to the blob."""
        self._stream.write(data)
        self._hash.update(data)
        self.offset += len(data)

    def restart(self) -> None:
        """Discard the bytes written so far."""
        self._stream.seek(0)
        self._stream.truncate()
        self._hash = hashlib.new(self._algorithm)
        self.offset = 0

    def commit(self, *, total: int, expected: str) -> None:
        """Move the blob to its final path.

        Raises LayoutRefusal if it does not match ``total`` (0: unknown) or ``expected``.
        """
        if total and total != self.offset:
            raise LayoutRefusal(GrpcStatus.FAILED_PRECONDITION, f"{self.offset} bytes were written of {total}")
        if expected and expected != self.digest:
            raise LayoutRefusal(
                GrpcStatus.FAILED_PRECONDITION, f"the written content has digest {self.digest}, not {expected}"
            )
        self._stream.close()
        self._layout.place(self._partial, self.digest)


def _split_digest(digest: str) -> tuple[str, str]:
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise LayoutRefusal(GrpcStatus.INVALID_ARGUMENT, f"{digest[:100]!r} is not a digest")
    algorithm, _, encoded = digest.partition(":")
    return algorithm, encoded


_INDEX = "index.json"
_LOCK = "index.json.lock"
_LAYOUT = "oci-layout"
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
_IMAGE = "io.containerd.image.name"
_TAG = "org.opencontainers.image.ref.name"
_PATIENCE = 10.0
_LOOK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutName:
    """The name of an index entry: a tag and, for images, the whole image name."""

    tag: str
    image: str = ""

    @property
    def annotations(self) -> dict[str, str]:
        """The index annotations that hold the name."""
        return {**({_IMAGE: self.image} if self.image else {}), _TAG: self.tag}

    @classmethod
    def from_image(cls, image: str) -> LayoutName:
        """Make the name of an image: ``host/path:tag`` also has its tag, ``host/path@digest`` its digest.

        Source: containerd 2.4, ``pkg/reference/reference.go``.
        """
        _, slash, path = image.partition("/")
        first = min((place for mark in ":@" if (place := path.find(mark)) >= 0), default=-1)
        tag = path[first:].removeprefix(":") if slash and first >= 0 else image
        return cls(tag=tag, image=image)


def find_entry(folder: Path, tag: str) -> dict[str, Any] | None:
    """Return the index's entry with a tag or an image's whole name, None if there is none.

    Raises KubeBuilderError if the index is unreadable.
    """
    entries = list_entries(folder)
    for key in (_IMAGE, _TAG):
        for entry in entries:
            if (entry.get("annotations") or {}).get(key) == tag:
                return entry
    return None


def find_digest(folder: Path, tag: str) -> str:
    """Return the digest of a tag or an image's whole name, "" if there is none.

    Raises KubeBuilderError if the index is unreadable.
    """
    entry = find_entry(folder, tag)
    return str(entry.get("digest", "")) if entry else ""


def list_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the index's entries. Raises KubeBuilderError if the index is unreadable."""
    entries: list[dict[str, Any]] = _read_index(folder)["manifests"]
    return entries


def find_image_digest(folder: Path, tag: str) -> str:
    """Find a digest like :func:`find_digest`; without a match, fall back to the index's only entry.

    Returns "" if the index has no or several entries. Source: buildx 0.38.2, ``build/opt.go``.
    """
    entries = _read_index(folder)["manifests"]
    return find_digest(folder, tag) or (str(entries[0].get("digest", "")) if len(entries) == 1 else "")


def list_tags(folder: Path) -> list[str]:
    """List the tags of the entries. Raises KubeBuilderError if the index is unreadable."""
    noted = ((entry.get("annotations") or {}).get(_TAG) for entry in _read_index(folder)["manifests"])
    return sorted({str(tag) for tag in noted if tag})


def put_entry(folder: Path, descriptor: Mapping[str, Any], names: Sequence[LayoutName]) -> None:
    """Add an entry under each of ``names``, replacing entries with those names; without names, an unnamed one.

    Raises KubeBuilderError if the index cannot be written or is locked by another build.
    """
    try:
        with _lock_index(folder):
            index = _read_index(folder)
            if not names and descriptor not in index["manifests"]:
                index["manifests"].append(dict(descriptor))
            for name in names:
                notes = {**(descriptor.get("annotations") or {}), **name.annotations}
                others = [entry for entry in index["manifests"] if not _is_named(entry, name)]
                index["manifests"] = [*others, {**descriptor, "annotations": notes}]
            _replace_file(folder / _LAYOUT, _VERSION)
            _replace_file(folder / _INDEX, json.dumps(index, separators=(",", ":")).encode())
    except OSError as error:
        raise KubeBuilderError(f"cannot write {folder / _INDEX}: {error.strerror}") from error


def _is_named(entry: Mapping[str, Any], name: LayoutName) -> bool:
    notes = entry.get("annotations") or {}
    return notes.get(_TAG) == name.tag and notes.get(_IMAGE, "") == name.image


def _read_index(folder: Path) -> dict[str, Any]:
    """Read the index; return an empty one if it is missing."""
    path = folder / _INDEX
    try:
        index = parse_json(path.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        index = {}
    except OSError as error:
        raise KubeBuilderError(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        index = None
    entries = index.get("manifests") or [] if isinstance(index, dict) else None
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise KubeBuilderError(f"{path} is malformed", fix="remove its folder or name another")
    return {"schemaVersion": 2, "mediaType": _MEDIA_TYPE, **index, "manifests": entries}


def _is_entry(value: object) -> bool:
    """Return whether a value has the form of a descriptor, as far as entries are used; parts may be missing."""
    if not isinstance(value, dict) or not isinstance(value.get("annotations") or {}, dict):
        return False
    return all(isinstance(value.get(name, ""), str) for name in ("digest", "mediaType"))


@contextmanager
def _lock_index(folder: Path) -> Iterator[None]:
    """Hold the index lock, a file that its holder deletes at the end.

    A lock is therefore valid only on the file that is currently at that path.
    """
    path = folder / _LOCK
    deadline = time.monotonic() + _PATIENCE
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise KubeBuilderError(f"{folder} is in use by another build")
        time.sleep(_LOOK)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _replace_file(path: Path, content: bytes) -> None:
    scratch.replace(path, content)
