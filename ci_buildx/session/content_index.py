"""``index.json``: what an OCI image layout holds, under which names.

Entries are named as buildx names them (BuildKit 0.34.2, ``client/ociindex/ociindex.go``), so that either reads the
other's layouts. The lock is the same, too; but here the file is replaced as a whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model.record import dataclass

LATEST = "latest"

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
class Name:
    """What an entry is known by: a tag, and where it is an image's, its whole name."""

    tag: str
    image: str = ""

    @property
    def annotations(self) -> dict[str, str]:
        """How an index says it."""
        return {**({_IMAGE: self.image} if self.image else {}), _TAG: self.tag}

    @classmethod
    def of_image(cls, image: str) -> Name:
        """``host/path:tag`` is known by its tag as well, ``host/path@digest`` by the latter (containerd 2.4,
        ``pkg/reference/reference.go``).
        """
        _, slash, path = image.partition("/")
        first = min((place for mark in ":@" if (place := path.find(mark)) >= 0), default=-1)
        tag = path[first:].removeprefix(":") if slash and first >= 0 else image
        return cls(tag=tag, image=image)


def find(folder: Path, tag: str) -> str:
    """The digest under a tag or an image's whole name, "" if there is none. KubeBuilderError if it cannot be read."""
    entries = _read(folder)["manifests"]
    for key in (_IMAGE, _TAG):
        for entry in entries:
            if (entry.get("annotations") or {}).get(key) == tag:
                return str(entry.get("digest", ""))
    return ""


def find_image(folder: Path, tag: str) -> str:
    """As :func:`find`; where nothing has the tag, the only entry, if there is one (buildx 0.38.2, ``build/opt.go``)."""
    entries = _read(folder)["manifests"]
    return find(folder, tag) or (str(entries[0].get("digest", "")) if len(entries) == 1 else "")


def tags(folder: Path) -> list[str]:
    """The tags that entries have. KubeBuilderError if the index cannot be read."""
    noted = ((entry.get("annotations") or {}).get(_TAG) for entry in _read(folder)["manifests"])
    return sorted({str(tag) for tag in noted if tag})


def put(folder: Path, descriptor: Mapping[str, Any], names: Sequence[Name]) -> None:
    """Add an entry under each of ``names``, in place of what had them. KubeBuilderError if that cannot be written."""
    try:
        with _locked(folder):
            index = _read(folder)
            for name in names:
                notes = {**(descriptor.get("annotations") or {}), **name.annotations}
                others = [entry for entry in index["manifests"] if not _is_named(entry, name)]
                index["manifests"] = [*others, {**descriptor, "annotations": notes}]
            _replace(folder / _LAYOUT, _VERSION)
            _replace(folder / _INDEX, json.dumps(index, separators=(",", ":")).encode())
    except OSError as error:
        raise KubeBuilderError(f"cannot write {folder / _INDEX}: {error.strerror}") from error


def _is_named(entry: Mapping[str, Any], name: Name) -> bool:
    notes = entry.get("annotations") or {}
    return notes.get(_TAG) == name.tag and notes.get(_IMAGE, "") == name.image


def _read(folder: Path) -> dict[str, Any]:
    """The index, an empty one where there is none."""
    path = folder / _INDEX
    try:
        index = json.loads(path.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        index = {}
    except OSError as error:
        raise KubeBuilderError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        index = None
    entries = index.get("manifests") or [] if isinstance(index, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KubeBuilderError(f"{path} is malformed", fix="remove its folder or name another")
    return {"schemaVersion": 2, "mediaType": _MEDIA_TYPE, **index, "manifests": entries}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Whoever has the lock removes its file in the end; what was locked counts only while it is still in place."""
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _replace(path: Path, content: bytes) -> None:
    scratch.replace(path, content)
