"""Merges the caches that several nodes pushed to a registry; the caller supplies the cache format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import ContentDescriptor, compute_digest, parse_document


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
