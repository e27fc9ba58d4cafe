"""Copies manifests with everything they refer to from one repository to another, of the same registry or not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, Repository
from ci_buildx.registry.content import check_digest

if TYPE_CHECKING:
    from requests import Response

_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_DEEPEST = 4


def copy_manifest(
    client: RegistryClient, digest: str, source: Repository, target: Repository, *, depth: int = 0
) -> None:
    """Copy a manifest, or an index with all it lists; what is there already is left alone."""
    if client.has_manifest(target, digest):
        return
    if depth > _DEEPEST:
        raise RegistryError(f"{digest} of {source} nests indexes too deeply")
    document = client.manifest(source, digest)
    for entry in document.entries:
        copy_manifest(client, entry["digest"], source, target, depth=depth + 1)
    for blob in document.blobs:
        _copy_blob(client, blob, source, target)
    client.put_manifest(target, digest, document)


def _copy_blob(client: RegistryClient, entry: Mapping[str, Any], source: Repository, target: Repository) -> None:
    digest = check_digest(entry["digest"])
    if entry["mediaType"] == _FOREIGN or client.has_blob(target, digest):
        return
    if source.domain == target.domain and client.mount_blob(target, digest, source):
        return
    client.upload_blob(target, digest, lambda: _Passing(client.open_blob(source, digest), digest, entry["size"]))


class _Passing:
    """A blob on its way from one registry to another; its end is refused if it is not what its digest says."""

    def __init__(self, response: Response, digest: str, size: int) -> None:
        self._response = response
        self._digest = digest
        self._hash = hashlib.new(digest.partition(":")[0])
        self._left = size
        self._size = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._response.raw.read(self._left if size < 0 else min(size, self._left))
        self._hash.update(piece)
        self._left -= len(piece)
        if self._left == 0 or not piece:
            self._finish()
        return piece

    def _finish(self) -> None:
        self._response.close()
        if self._left or self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise RegistryError(f"the source sent something else than {self._digest}")
