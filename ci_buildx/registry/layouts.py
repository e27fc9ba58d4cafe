"""An OCI layout as a store of images (OCI image specification 1.1, ``image-layout.md``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ci_buildx.errors import KubeBuilderError, RegistryError
from ci_buildx.registry.content import (
    INDEXES,
    LARGEST_CONFIG,
    LARGEST_MANIFEST,
    MANIFESTS,
    ManifestDocument,
    check_digest,
    parse_document,
    verify_content,
)
from ci_buildx.registry.stores import BlobTransfer, ImageStore
from ci_buildx.session.oci_layout import (
    LayoutName,
    LayoutRefusal,
    OciLayout,
    find_entry,
    list_entries,
    list_tags,
    put_entry,
)

SUBJECT = "io.containerd.manifest.subject"
"""The annotation of an entry of ``index.json`` that is a referrer (containerd 2.4, ``core/images/annotations.go``)."""
_ATTESTED = "vnd.docker.reference.digest"
_PIECE = 1 << 20
_ATTEMPTS = 3
"""Maximum number of times that a blob is read."""
_DEEPEST = 4


class LayoutStore:
    """The layout in ``folder``."""

    is_whole = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layout = OciLayout(folder, writable=True)

    def __str__(self) -> str:
        return f"oci-layout://{self.folder}"

    def read_manifest(self, name: str) -> ManifestDocument:
        """Return the manifest or index with a tag or digest."""
        announced = ""
        digest = name
        if ":" not in name:
            entry = find_entry(self.folder, name)
            if entry is None:
                raise RegistryError(f"{self}:{name} not found", fix=self._list_tags())
            digest, announced = check_digest(entry.get("digest")), str(entry.get("mediaType", ""))
        known = announced if announced in INDEXES | MANIFESTS else ""
        return parse_document(self.read_blob(digest, limit=LARGEST_MANIFEST), known)

    def has_manifest(self, digest: str) -> bool:
        """Return whether a manifest exists."""
        return self.has_blob(digest)

    def put_manifest(self, name: str, document: ManifestDocument) -> None:
        """Store a manifest; a tag gets an entry in ``index.json``."""
        digest = document.descriptor.digest
        if not self.has_blob(digest):
            self._write(digest, [document.body])
        if ":" not in name:
            self.list_in_index(document, [LayoutName(tag=name)])

    def list_in_index(self, document: ManifestDocument, names: Sequence[LayoutName] = ()) -> None:
        """Add an entry to ``index.json`` under each of ``names``; without names, under its digest."""
        put_entry(self.folder, document.descriptor.to_json(), names)

    def read_blob(self, digest: str, *, limit: int = LARGEST_CONFIG) -> bytes:
        """Return a blob of at most ``limit`` bytes."""
        with self._open(digest) as stream:
            body = stream.read(limit + 1)
        if len(body) > limit:
            raise RegistryError(f"{digest} of {self} has more than {limit} bytes")
        verify_content(body, digest)
        return body

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob exists."""
        return self._layout.has(check_digest(digest))

    def measure_blob(self, digest: str) -> int:
        """Return the size of a blob in bytes."""
        with self._open(digest) as stream:
            return stream.seek(0, os.SEEK_END)

    def open_blob(self, digest: str, size: int) -> BlobTransfer:
        """Open a blob of ``size`` bytes."""
        stream = self._open(digest)
        return BlobTransfer(stream.read, stream.close, digest=digest, size=size)

    def mount_blob(self, digest: str, source: ImageStore) -> bool:  # noqa: ARG002
        """Return False: a layout contains all its blobs."""
        return False

    def put_blob(self, digest: str, make_transfer: Callable[[], BlobTransfer]) -> None:
        """Store a blob; it is read again if its connection breaks. Raises RegistryError."""
        from urllib3.exceptions import HTTPError

        for left in reversed(range(_ATTEMPTS)):
            transfer = make_transfer()
            try:
                self._write(digest, iter(partial(transfer.read, _PIECE), b""))
            except HTTPError as error:
                if not left:
                    reason = " ".join(str(error).split())
                    raise RegistryError(f"{digest} cannot be read: {reason}", fix="try again") from error
            else:
                return

    def take_blobs(self, other: Path) -> None:
        """Move all blobs of the layout ``other``, which is on the same file system, to this one."""
        try:
            for path in sorted((other / "blobs").glob("*/*")):
                self._layout.place(path, f"{path.parent.name}:{path.name}")
        except LayoutRefusal as error:
            raise RegistryError(str(error)) from error
        except OSError as error:
            raise KubeBuilderError(f"cannot write to {self.folder}: {error.strerror}") from error

    def list_referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return the manifests whose subject is ``digest``: noted in ``index.json``, or listed by an index."""
        entries = self._list_entries()
        roots = [entry for entry in entries if SUBJECT not in _read_annotations(entry)]
        found = {one["digest"]: one for one in self._walk(roots, set()) if self._find_subject(one, digest)}
        found |= {one["digest"]: one for one in entries if _read_annotations(one).get(SUBJECT) == digest}
        return list(found.values())

    def add_referrer(self, subject: str, descriptor: Mapping[str, Any]) -> None:
        """Note a stored manifest in ``index.json``, unless an index there lists it already."""
        entries = self._list_entries()
        roots = [entry for entry in entries if SUBJECT not in _read_annotations(entry)]
        listed = {one["digest"] for one in self._walk(roots, set())} | {one["digest"] for one in entries}
        if descriptor["digest"] not in listed:
            notes = {SUBJECT: subject, **_read_annotations(descriptor)}
            put_entry(self.folder, {**descriptor, "annotations": notes}, ())

    def _list_entries(self) -> list[dict[str, Any]]:
        """Return the entries of ``index.json``; one without a digest names nothing."""
        return [entry for entry in list_entries(self.folder) if "digest" in entry]

    def _walk(self, entries: Sequence[Mapping[str, Any]], seen: set[str], depth: int = 0) -> Iterator[dict[str, Any]]:
        """Yield entries and those of the indexes among them; an index that was ``seen`` is not opened again."""
        for entry in entries:
            yield dict(entry)
            digest = entry["digest"]
            if entry.get("mediaType") not in INDEXES or depth >= _DEEPEST or digest in seen:
                continue
            seen.add(digest)
            if self.has_blob(digest):
                yield from self._walk(self.read_manifest(digest).entries, seen, depth + 1)

    def _find_subject(self, entry: Mapping[str, Any], digest: str) -> bool:
        """Return whether the subject of a listed manifest is ``digest``."""
        if _read_annotations(entry).get(_ATTESTED) == digest:
            return True
        if entry.get("mediaType") not in MANIFESTS or not self.has_blob(entry["digest"]):
            return False
        subject = self.read_manifest(entry["digest"]).fields.get("subject")
        return isinstance(subject, dict) and subject.get("digest") == digest

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self._layout.open(check_digest(digest))
        except LayoutRefusal as error:
            raise RegistryError(str(error)) from error
        except OSError as error:
            raise RegistryError(f"cannot read {digest} of {self}: {error.strerror}") from error

    def _write(self, digest: str, pieces: Iterator[bytes] | Sequence[bytes]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._layout.ingest(digest) as ingest:
                for piece in pieces:
                    ingest.write(piece)
                ingest.commit(total=0, expected=digest)
        except LayoutRefusal as error:
            raise RegistryError(str(error)) from error
        except OSError as error:
            raise KubeBuilderError(f"cannot write to {self.folder}: {error.strerror}") from error

    def _list_tags(self) -> str:
        tags = list_tags(self.folder)
        return f"its tags: {', '.join(tags[:20])}" if tags else ""


def _read_annotations(entry: Mapping[str, Any]) -> Mapping[str, str]:
    found = entry.get("annotations")
    return found if isinstance(found, dict) else {}
