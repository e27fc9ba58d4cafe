"""The merge of all nodes' exports to one cache, so that each node finds its steps there in the next build.

A registry cache or a folder has one manifest, but each node wrote its own. The merged cache is an ordinary one, which
plain BuildKit also reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.build.attachables import make_builder_trust
from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.caches import CACHE, list_platforms, put_cache, read_descriptor
from ci_buildx.build.solve import NodeResult
from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit import remote_cache
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import reference
from ci_buildx.model.documents import parse_json
from ci_buildx.registry.content import check_digest, compute_digest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.settings.values import TypedAttributes

if TYPE_CHECKING:
    from ci_buildx.session.oci_layout import OciLayout

_TOO_LARGE = "{}: the nodes' caches together exceed BuildKit's limit of 1 MiB; only the first node's cache is exported"


def merge_caches(
    site: BuildRun, builder: Builder, solved: Sequence[NodeResult], store: CredentialStore
) -> dict[str, str]:
    """Merge the caches that the ``solved`` nodes exported, for each ``cache_to``.

    Returns the response of an exporter that had merged them; if there are several caches, the last one's. Raises
    KubeBuilderError, except for caches with ``ignore-error=true``.
    """
    merged: Mapping[str, Any] | None = None
    for cache in site.settings.build.cache_to:
        try:
            if cache.type == remote_cache.REGISTRY:
                merged = _merge_pushed(site, builder, cache, solved, store) or merged
            elif cache.type == remote_cache.LOCAL:
                merged = _merge_folder(site, cache, solved) or merged
        except KubeBuilderError as error:
            if not is_true(cache.get("ignore-error")):
                raise
            site.display.warn(f"the cache is not written: {error}")
    return {CACHE: json.dumps(merged, separators=(",", ":"))} if merged else {}


def _merge_pushed(
    site: BuildRun, builder: Builder, cache: TypedAttributes, solved: Sequence[NodeResult], store: CredentialStore
) -> dict[str, Any] | None:
    from ci_buildx.registry.client import RegistryClient, RegistryRepository
    from ci_buildx.registry.index import merge_caches as merge_in_registry

    target = reference.parse_reference(cache.get("ref")).add_default_tag()
    insecure = {target.domain} if is_true(cache.get("registry.insecure")) else set()
    with (
        site.phases.measure("merge"),
        site.display.begin_phase(f"merging cache {target}"),
        RegistryClient(store, trust=make_builder_trust(site, builder, insecure)) as client,
    ):
        sources = [descriptor["digest"] for descriptor in _list_exported(solved)]
        if remote_cache.needs_tags(site.settings.build.cache_to):
            own = (remote_cache.make_own_reference(cache, list_platforms(one.connection.node)[0]) for one in solved)
            tags = [reference.parse_reference(each).tag for each in own]
            sources = [tag for tag in tags if client.has_manifest(RegistryRepository.from_reference(target), tag)]
        if not sources:
            return None
        merged = merge_in_registry(client, target, sources, remote_cache)
        if merged.too_large:
            site.display.warn(_TOO_LARGE.format(target))
    return merged.descriptor.to_json()


def _merge_folder(site: BuildRun, cache: TypedAttributes, solved: Sequence[NodeResult]) -> Mapping[str, Any] | None:
    """Merge the caches in a folder and return the descriptor; None if there is none.

    Of several caches, buildkitd reports only one, which may be in another folder.
    """
    from ci_buildx.session.oci_layout import LayoutRefusal, OciLayout

    folder = Path(cache.get("dest"))
    layout = OciLayout(folder, writable=True)
    found = {one["digest"]: one for one in _list_exported(solved) if layout.has(one["digest"])}
    if not found:
        return None
    try:
        descriptor, too_large = _merge_in(layout, list(found.values()))
    except (LayoutRefusal, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise KubeBuilderError(f"the caches in {folder} cannot be merged: {error}") from error
    if too_large:
        site.display.warn(_TOO_LARGE.format(folder))
    put_cache(cache, descriptor)
    return descriptor


def _merge_in(layout: OciLayout, found: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], bool]:
    """Return the merged cache's descriptor, or the first cache's and True if the merged one is too large."""
    if len(found) == 1:
        return found[0], False
    manifests = [parse_json(_read(layout, one["digest"])) for one in found]
    entries = [remote_cache.find_config(manifest) for manifest in manifests]
    config = remote_cache.merge_configs(_read(layout, entry["digest"]) for entry in entries)
    entry = {"mediaType": remote_cache.MEDIA_TYPE, "digest": compute_digest(config), "size": len(config)}
    manifest = remote_cache.merge_manifests(manifests, entry)
    if max(len(config), len(manifest)) > remote_cache.LARGEST:
        return found[0], True
    for content in (config, manifest):
        _write(layout, content)
    return {**found[0], "digest": compute_digest(manifest), "size": len(manifest)}, False


def _read(layout: OciLayout, digest: str) -> bytes:
    with layout.open(digest) as stream:
        return stream.read()


def _write(layout: OciLayout, content: bytes) -> None:
    digest = compute_digest(content)
    if layout.has(digest):
        return
    with layout.ingest(digest) as blob:
        blob.write(content)
        blob.commit(total=len(content), expected=digest)


def _list_exported(solved: Sequence[NodeResult]) -> list[dict[str, Any]]:
    """Return the manifests that the nodes exported, in order; a node that ran no steps exports none."""
    found = [read_descriptor(one.response[CACHE]) for one in solved if one.response.get(CACHE)]
    for descriptor in found:
        check_digest(descriptor.get("digest"))
    return found
