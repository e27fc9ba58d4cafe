"""Copies images between stores: everything that a manifest lists and, if requested, what refers to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import ManifestDocument, check_digest
from ci_buildx.registry.stores import ImageStore, RegistryStore

_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_DEEPEST = 4
MOST_COPIED = 16384
"""Maximum number of manifests and blobs of one copy: an image for ten platforms has a few hundred."""
_AT_ONCE = 4
"""Number of blobs copied at once."""


def copy_manifest(client: RegistryClient, digest: str, source: RegistryRepository, target: RegistryRepository) -> None:
    """Copy a manifest, or an index with everything it lists, between repositories, skipping existing content.

    Raises RegistryError, also for an index of more than :data:`MOST_COPIED` manifests and blobs.
    """
    copy = ImageCopy(RegistryStore(client, source), RegistryStore(client, target))
    copy.add_manifest(digest)
    copy.run()


class ImageCopy:
    """One copy between stores: manifests are added, then :meth:`run` copies them. Each is copied once.

    Of the manifests that refer to one of them, those with one of the ``artifact_types`` are copied, too.
    Methods raise RegistryError.
    """

    def __init__(self, source: ImageStore, target: ImageStore, *, artifact_types: Collection[str] = ()) -> None:
        self._source = source
        self._target = target
        self._artifact_types = artifact_types
        self._seen: set[str] = set()
        self._blobs: list[Mapping[str, Any]] = []
        self._manifests: list[ManifestDocument] = []
        self._referrers: list[tuple[str, Mapping[str, Any]]] = []

    def add_manifest(self, digest: str, *, depth: int = 0) -> None:
        """Add a manifest, after everything that it lists and before everything that refers to it."""
        if not self._count(digest):
            return
        if depth > _DEEPEST:
            raise RegistryError(f"{digest} of {self._source} nests indexes too deeply")
        if not (self._target.is_whole and self._target.has_manifest(digest)):
            document = self._source.read_manifest(digest)
            for entry in document.entries:
                self.add_manifest(entry["digest"], depth=depth + 1)
            for blob in document.blobs:
                self._add_blob(blob)
            self._manifests.append(document)
        if self._artifact_types:
            self._add_referrers(digest, depth)

    def run(self) -> None:
        """Copy all blobs, then the manifests."""
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy")
        try:
            running: list[Future[None]] = [pool.submit(self._copy_blob, blob) for blob in self._blobs]
            for future in running:
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for document in self._manifests:
            self._target.put_manifest(document.descriptor.digest, document)

    def link_referrers(self) -> None:
        """Make the copied referrers known in the target, which must have their subjects now."""
        for subject, descriptor in self._referrers:
            self._target.add_referrer(subject, descriptor)

    def _add_blob(self, entry: Mapping[str, Any]) -> None:
        if entry["mediaType"] != _FOREIGN and self._count(check_digest(entry["digest"])):
            self._blobs.append(entry)

    def _add_referrers(self, digest: str, depth: int) -> None:
        for entry in self._source.list_referrers(digest):
            if entry.get("artifactType") in self._artifact_types:
                self.add_manifest(entry["digest"], depth=depth + 1)
                self._referrers.append((digest, entry))

    def _count(self, digest: str) -> bool:
        """Return whether a digest is new to this copy. Raises RegistryError if there are too many."""
        is_new = digest not in self._seen
        self._seen.add(digest)
        if len(self._seen) > MOST_COPIED:
            raise RegistryError(f"the image of {self._source} has more than {MOST_COPIED} manifests and blobs")
        return is_new

    def _copy_blob(self, entry: Mapping[str, Any]) -> None:
        digest, size = entry["digest"], entry["size"]
        if self._target.has_blob(digest) or self._target.mount_blob(digest, self._source):
            return
        self._target.put_blob(digest, lambda: self._source.open_blob(digest, size))
