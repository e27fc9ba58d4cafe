"""Merges images and caches that several nodes pushed to a registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

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
    compute_digest,
    parse_document,
    parse_platform,
    read_platform,
)
from ci_buildx.registry.copies import ImageCopy
from ci_buildx.registry.stores import RegistryStore

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
    without a tag the index is pushed by digest only. A tag that already points to the index is not pushed again.
    Raises RegistryError that lists the tags already pushed.
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
        copy = ImageCopy(RegistryStore(client, home), RegistryStore(client, repository))
        for entry in index.entries if index.is_index else [{"digest": digest}]:
            copy.add_manifest(entry["digest"])
        copy.run()
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
