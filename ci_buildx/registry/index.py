"""Merges images and caches that several nodes pushed to a registry, and copies manifests between repositories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import (
    DOCKER_LIST,
    OCI_INDEX,
    ContentDescriptor,
    ManifestDocument,
    check_digest,
    compute_digest,
    parse_document,
    parse_platform,
    read_platform,
)

if TYPE_CHECKING:
    from requests import Response

_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_DEEPEST = 4
MOST_COPIED = 16384
"""Maximum number of manifests and blobs of one copy: an image for ten platforms has a few hundred."""


def copy_manifest(client: RegistryClient, digest: str, source: RegistryRepository, target: RegistryRepository) -> None:
    """Copy a manifest, or an index with everything it lists, skipping existing content.

    Raises RegistryError, also for an index of more than :data:`MOST_COPIED` manifests and blobs.
    """
    _ImageCopy(client, source, target).copy_manifest(digest)


class _ImageCopy:
    """One copy between repositories; each manifest and each blob is copied once."""

    def __init__(self, client: RegistryClient, source: RegistryRepository, target: RegistryRepository) -> None:
        self._client = client
        self._source = source
        self._target = target
        self._seen: set[str] = set()

    def copy_manifest(self, digest: str, *, depth: int = 0) -> None:
        """Copy a manifest after everything that it lists."""
        if not self._count(digest) or self._client.has_manifest(self._target, digest):
            return
        if depth > _DEEPEST:
            raise RegistryError(f"{digest} of {self._source} nests indexes too deeply")
        document = self._client.read_manifest(self._source, digest)
        for entry in document.entries:
            self.copy_manifest(entry["digest"], depth=depth + 1)
        for blob in document.blobs:
            self._copy_blob(blob)
        self._client.put_manifest(self._target, digest, document)

    def _count(self, digest: str) -> bool:
        """Return whether a digest is new to this copy. Raises RegistryError if there are too many."""
        is_new = digest not in self._seen
        self._seen.add(digest)
        if len(self._seen) > MOST_COPIED:
            raise RegistryError(f"the image of {self._source} has more than {MOST_COPIED} manifests and blobs")
        return is_new

    def _copy_blob(self, entry: Mapping[str, Any]) -> None:
        client, digest, size = self._client, check_digest(entry["digest"]), entry["size"]
        if entry["mediaType"] == _FOREIGN or not self._count(digest) or client.has_blob(self._target, digest):
            return
        if self._source.domain == self._target.domain and client.mount_blob(self._target, digest, self._source):
            return
        client.upload_blob(
            self._target, digest, lambda: _BlobTransfer(client.open_blob(self._source, digest, size), digest, size)
        )


class _BlobTransfer:
    """A blob being copied between registries; raises RegistryError at the end if it does not match its digest."""

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
            raise RegistryError(f"the source returned content that does not match {self._digest}")


_ATTESTED = "vnd.docker.reference.digest"
"""The annotation of an attestation that names its image (BuildKit, ``docs/attestations/attestation-storage.md``)."""


def merge_index(
    client: RegistryClient,
    target: ImageReference,
    tags: Sequence[ImageReference],
    sources: Sequence[str],
    *,
    annotations: Mapping[str, str] | None = None,
) -> ContentDescriptor:
    """Merge the manifests ``sources`` (digests) in ``target``'s repository and push the index as each of ``tags``.

    Tags may be in other repositories and registries: the index's content is copied there first. For a reference
    without a tag the index is pushed by digest only. A tag that already points to the index is not pushed again: that
    would fail in registries with immutable tags (containerd 2.4 checks first, too:
    ``core/remotes/docker/pusher.go``). Raises RegistryError that lists the tags already pushed.
    """
    home = RegistryRepository.from_reference(target)
    documents = [client.read_manifest(home, digest) for digest in sources]
    index = documents[0]
    if len(documents) > 1 or annotations:
        index = parse_document(
            combine_index([_list_entries(client, home, document) for document in documents], annotations or {})
        )
    _publish_index(client, index, home, tags)
    return index.descriptor


def combine_index(parts: Sequence[Sequence[Mapping[str, Any]]], annotations: Mapping[str, str]) -> bytes:
    """Return the index of each node's descriptors: images in the nodes' order, then attestations, without duplicates.

    Raises RegistryError if two nodes built the same platform.
    """
    entries: dict[str, dict[str, Any]] = {}
    for entry in (entry for part in parts for entry in part):
        known = entries.setdefault(entry["digest"], {})
        combined = {**(known.get("annotations") or {}), **(entry.get("annotations") or {})}
        known.update(entry)
        if combined:
            known["annotations"] = combined
    ordered = sorted(entries.values(), key=_is_attestation)
    _check_platforms(ordered)
    docker = all(entry["mediaType"].startswith("application/vnd.docker.") for entry in ordered)
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker and not annotations else OCI_INDEX,
        "manifests": ordered,
    }
    if annotations:
        index["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(index, indent=2).encode()


def _list_entries(client: RegistryClient, home: RegistryRepository, document: ManifestDocument) -> list[dict[str, Any]]:
    """Return the descriptors that a node adds to the index; a bare manifest's platform is read from its config."""
    if document.is_index:
        return document.entries
    config = client.read_blob(home, document.fields["config"]["digest"])
    found = document.descriptor
    return [
        {
            "mediaType": found.media_type,
            "digest": found.digest,
            "size": found.size,
            "platform": parse_platform(config),
        }
    ]


def _publish_index(
    client: RegistryClient, index: ManifestDocument, home: RegistryRepository, tags: Sequence[ImageReference]
) -> None:
    written: list[str] = []
    for tag in tags:
        try:
            _write(client, index, home, tag)
        except RegistryError as error:
            done = f"pushed already: {', '.join(written)}" if written else "no tags were pushed"
            raise RegistryError(f"{error.message} ({done})", status=error.status, fix=error.fix) from error
        written.append(str(tag))


def _write(client: RegistryClient, index: ManifestDocument, home: RegistryRepository, tag: ImageReference) -> None:
    repository, digest = RegistryRepository.from_reference(tag), index.descriptor.digest
    if tag.tag and client.has_tag(repository, tag.tag, digest):
        return
    if repository != home:
        copy = _ImageCopy(client, home, repository)
        for entry in index.entries:
            copy.copy_manifest(entry["digest"])
        if not index.is_index:
            copy.copy_manifest(digest)
    client.put_manifest(repository, tag.tag or digest, index)


def _is_attestation(entry: Mapping[str, Any]) -> bool:
    return _ATTESTED in (entry.get("annotations") or {})


def _check_platforms(entries: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[tuple[Platform, str], str] = {}
    for entry in entries:
        platform = read_platform(entry)
        if platform is None or _is_attestation(entry):
            continue
        key = (platform, str(entry["platform"].get("os.version", "")))
        if key in seen:
            raise RegistryError(f"two nodes pushed {platform}: {seen[key]} and {entry['digest']}")
        seen[key] = entry["digest"]


class CacheFormat(Protocol):
    """The format of a cache and how to merge caches; methods raise ValueError for an invalid cache."""

    MEDIA_TYPE: str
    LARGEST: int

    def find_config(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Return the descriptor of a cache's configuration."""

    def merge_configs(self, configs: Iterable[bytes]) -> bytes:
        """Merge several configurations into one."""

    def merge_manifests(self, manifests: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> bytes:
        """Return the manifest of all layers with one configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedCache:
    """The cache under a reference: that of all nodes, or only the first one's if the merge was ``too_large``."""

    descriptor: ContentDescriptor
    too_large: bool = False


def merge_caches(
    client: RegistryClient, target: ImageReference, sources: Sequence[str], form: CacheFormat
) -> MergedCache:
    """Merge the caches ``sources`` (tags or digests in ``target``'s repository) and push the result to ``target``.

    Their layers are already in the repository; only a configuration and a manifest are pushed. Raises RegistryError.
    """
    repository = RegistryRepository.from_reference(target)
    documents = {found.descriptor.digest: found for found in (client.read_manifest(repository, one) for one in sources)}
    first, *others = documents.values()
    result, too_large = first, False
    try:
        configs = [form.find_config(document.fields) for document in documents.values()]
        if others:
            config = form.merge_configs([client.read_blob(repository, entry["digest"]) for entry in configs])
            entry: dict[str, Any] = {
                "mediaType": form.MEDIA_TYPE,
                "digest": compute_digest(config),
                "size": len(config),
            }
            manifest = form.merge_manifests([document.fields for document in documents.values()], entry)
            too_large = max(len(config), len(manifest)) > form.LARGEST
    except ValueError as error:
        raise RegistryError(f"the cache in {repository} cannot be merged: {error}") from error
    if others and not too_large:
        if not client.has_blob(repository, entry["digest"]):
            client.upload_blob(repository, entry["digest"], lambda: config)
        result = parse_document(manifest)
    digest = result.descriptor.digest
    if not (target.tag and client.has_tag(repository, target.tag, digest)):
        client.put_manifest(repository, target.tag or digest, result)
    return MergedCache(descriptor=result.descriptor, too_large=too_large)
