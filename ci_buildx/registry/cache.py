"""The caches that several nodes pushed to a registry, made one. What the format of a cache is, the caller knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import ContentDescriptor, compute_digest, parse_document


class CacheFormat(Protocol):
    """How caches are merged. Methods raise ValueError for what is no cache."""

    MEDIA_TYPE: str
    LARGEST: int

    def find_config(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The descriptor of a cache's configuration."""

    def merge_configs(self, configs: Iterable[bytes]) -> bytes:
        """One configuration of several."""

    def merge_manifests(self, manifests: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> bytes:
        """The manifest of all layers with one configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedCache:
    """What a reference names now: the caches of all nodes, or, where they are ``too_large``, the first one's."""

    descriptor: ContentDescriptor
    too_large: bool = False


def merge_caches(
    client: RegistryClient, target: ImageReference, sources: Sequence[str], form: CacheFormat
) -> MergedCache:
    """Merge the caches ``sources`` (tags or digests of ``target``'s repository) and write them under ``target``.

    Their layers are there already: a configuration and a manifest are written. Raises RegistryError.
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
