"""Places that hold images: a repository of a registry, or an OCI layout (:mod:`ci_buildx.registry.layouts`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.registry.content import LARGEST_CONFIG, ManifestDocument, check_digest, make_index

if TYPE_CHECKING:
    from ci_buildx.registry.client import RegistryClient, RegistryRepository


class BlobTransfer:
    """A blob being copied; raises RegistryError at the end if it does not match its digest.

    ``read`` returns at most the given number of bytes; ``close`` releases what the reader holds.
    """

    def __init__(self, read: Callable[[int], bytes], close: Callable[[], None], *, digest: str, size: int) -> None:
        self._read = read
        self._close = close
        self._digest = digest
        self._hash = hashlib.new(digest.partition(":")[0])
        self._left = size
        self._size = size
        self._is_over = False

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` more bytes. Raises RegistryError at the end if the content is wrong."""
        if self._is_over:
            return b""
        piece = self._read(self._left if size < 0 else min(size, self._left))
        self._hash.update(piece)
        self._left -= len(piece)
        if self._left == 0 or not piece:
            self._finish()
        return piece

    def _finish(self) -> None:
        self._is_over = True
        self._close()
        if self._left or self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise RegistryError(f"the source returned content that does not match {self._digest}")


class ImageStore(Protocol):
    """Manifests by tag or digest, and blobs by digest; methods raise RegistryError."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that a stored manifest lists is stored, too."""

    def read_manifest(self, name: str) -> ManifestDocument:
        """Return the manifest or index with a tag or digest."""

    def has_manifest(self, digest: str) -> bool:
        """Return whether a manifest exists."""

    def put_manifest(self, name: str, document: ManifestDocument) -> None:
        """Store a manifest or index under a tag or digest."""

    def read_blob(self, digest: str, *, limit: int = LARGEST_CONFIG) -> bytes:
        """Return a blob of at most ``limit`` bytes."""

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob exists."""

    def open_blob(self, digest: str, size: int) -> BlobTransfer:
        """Open a blob of ``size`` bytes."""

    def mount_blob(self, digest: str, source: ImageStore) -> bool:
        """Take a blob of another store over without a copy; return whether that was possible."""

    def put_blob(self, digest: str, make_transfer: Callable[[], BlobTransfer]) -> None:
        """Store a blob; ``make_transfer`` opens it again for each attempt."""

    def list_referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose subject is ``digest``."""

    def add_referrer(self, subject: str, descriptor: Mapping[str, Any]) -> None:
        """Make a stored manifest one that :meth:`list_referrers` finds."""


class RegistryStore:
    """A repository of a registry."""

    is_whole = True

    def __init__(self, client: RegistryClient, repository: RegistryRepository) -> None:
        self.repository = repository
        self._client = client

    def __str__(self) -> str:
        return str(self.repository)

    def read_manifest(self, name: str) -> ManifestDocument:
        """Return the manifest or index with a tag or digest."""
        return self._client.read_manifest(self.repository, name)

    def has_manifest(self, digest: str) -> bool:
        """Return whether a manifest exists."""
        return self._client.has_manifest(self.repository, digest)

    def put_manifest(self, name: str, document: ManifestDocument) -> None:
        """Push a manifest under a digest or a tag, unless the tag points to it already.

        Registries with immutable tags refuse to store a tag twice (containerd 2.4 checks first, too:
        ``core/remotes/docker/pusher.go``).
        """
        if ":" in name or not self._client.has_tag(self.repository, name, document.descriptor.digest):
            self._client.put_manifest(self.repository, name, document)

    def read_blob(self, digest: str, *, limit: int = LARGEST_CONFIG) -> bytes:
        """Return a blob of at most ``limit`` bytes."""
        return self._client.read_blob(self.repository, digest, limit=limit)

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob exists."""
        return self._client.has_blob(self.repository, digest)

    def open_blob(self, digest: str, size: int) -> BlobTransfer:
        """Open a blob of ``size`` bytes."""
        response = self._client.open_blob(self.repository, digest, size)
        return BlobTransfer(response.raw.read, response.close, digest=digest, size=size)

    def mount_blob(self, digest: str, source: ImageStore) -> bool:
        """Mount a blob of another repository of the same registry, if the registry supports that."""
        if not isinstance(source, RegistryStore) or source.repository.domain != self.repository.domain:
            return False
        return self._client.mount_blob(self.repository, digest, source.repository)

    def put_blob(self, digest: str, make_transfer: Callable[[], BlobTransfer]) -> None:
        """Push a blob."""
        self._client.upload_blob(self.repository, digest, make_transfer)

    def list_referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return the manifests whose subject is ``digest``.

        Registries without the referrers API have an index under a tag (OCI distribution specification 1.1, "Referrers
        Tag Schema").
        """
        found = self._client.read_referrers(self.repository, digest)
        return self._read_referrers_tag(digest) if found is None else found

    def add_referrer(self, subject: str, descriptor: Mapping[str, Any]) -> None:
        """Add a pushed manifest to the index under the subject's tag, if the registry has no referrers API."""
        if self._client.read_referrers(self.repository, subject) is not None:
            return
        known = self._read_referrers_tag(subject)
        if all(one["digest"] != descriptor["digest"] for one in known):
            self._client.put_manifest(self.repository, _make_tag(subject), make_index([*known, dict(descriptor)]))

    def _read_referrers_tag(self, digest: str) -> list[dict[str, Any]]:
        try:
            return self._client.read_manifest(self.repository, _make_tag(digest)).entries
        except RegistryError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise


def _make_tag(subject: str) -> str:
    return check_digest(subject).replace(":", "-", 1)
