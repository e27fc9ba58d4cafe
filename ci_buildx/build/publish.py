"""Images that several nodes pushed by digest, merged under the build's names; pushed tags and image sizes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ci_buildx.build.attachables import make_builder_trust
from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.result import BUILD_REF, DESCRIPTOR, DIGEST, NAME, RECORDS, BuildResult
from ci_buildx.build.solve import NodeResult
from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit.exporters import Push
from ci_buildx.errors import KubeBuilderError, RegistryError, SolveError
from ci_buildx.model import reference
from ci_buildx.model.record import replace
from ci_buildx.registry.credentials import CredentialStore

if TYPE_CHECKING:
    from ci_buildx.registry.content import ManifestDocument
    from ci_buildx.settings.builder import BuilderSettings

_FIRST_FAULT = 500
"""Smallest HTTP status that is the registry's own fault; 0 means no answer."""
_MODULES = ("requests", "ci_buildx.registry.client", "ci_buildx.registry.index", "ci_buildx.registry.trust")


def import_modules() -> None:
    """Import the modules of :func:`merge_images`, which builds on one node do not need.

    The import takes as long as a small build.
    """
    for name in _MODULES:
        import_module(name)


def merge_images(
    site: BuildRun, builder: Builder, push: Push, solved: Sequence[NodeResult], store: CredentialStore
) -> dict[str, str]:
    """Merge the nodes' images into one index under every name, and return the response an exporter would have sent."""
    from ci_buildx.registry import index
    from ci_buildx.registry.client import RegistryClient

    wanted = list(push.references)
    if push.dangling:
        wanted.append(replace(reference.parse_reference(push.dangling), tag=""))
    sources = [one.response[DIGEST] for one in solved]
    names = ",".join(map(str, push.references))
    insecure = {wanted[0].domain} if push.insecure else set()
    with (
        site.phases.measure("merge"),
        site.display.begin_phase(f"merging index {names}"),
        RegistryClient(store, trust=make_builder_trust(site, builder, insecure)) as client,
    ):
        try:
            annotations = dict(push.annotations) or None
            descriptor = index.merge_index(client, wanted[0], wanted, sources, annotations=annotations)
        except RegistryError as failure:
            from ci_buildx.build import retries

            if failure.status and failure.status < _FIRST_FAULT:
                raise
            raise retries.advise_push(failure, site.settings) from failure
    if push.dangling:
        names += f",{wanted[-1].name}@{descriptor.digest}"
    described = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    encoded = base64.b64encode(json.dumps(described, separators=(",", ":")).encode()).decode()
    return {DIGEST: descriptor.digest, DESCRIPTOR: encoded, NAME: names}


def is_pushed_by_digest(solved: Sequence[NodeResult]) -> bool:
    """Return whether the nodes pushed images that must be merged. Raises RegistryError if only some nodes pushed."""
    if len(solved) < 2:
        return False
    without = [one.connection.node.name for one in solved if DIGEST not in one.response]
    if without and len(without) < len(solved):
        raise RegistryError(f"node {', '.join(without)} did not push", fix="check its last log lines above")
    return not without


def merge_responses(solved: Sequence[NodeResult]) -> dict[str, Any]:
    """Merge the responses of all nodes; for equal keys, the first node's value is used."""
    responses: dict[str, Any] = {}
    for one in reversed(solved):
        responses |= one.response
    return responses


def add_records(site: BuildRun, builder: Builder, solved: list[NodeResult]) -> list[NodeResult]:
    """Add the name of each node's build, and its provenance if the metadata has it, to the response."""
    refs = [f"{builder.name}/{one.record}" for one in solved]
    named = [replace(one, response={**one.response, BUILD_REF: ref}) for one, ref in zip(solved, refs, strict=True)]
    if folder := site.env.get("BUILDX_CONFIG"):
        from ci_buildx.build import local_state

        local_state.save_states(folder, refs, site)
    if site.settings.build.metadata_provenance is None:
        return named
    from ci_buildx.build import provenance

    return provenance.add_provenance(site, named)


def select_records(solved: Sequence[NodeResult]) -> dict[str, str]:
    """Return the keys of all nodes' responses about the builds themselves: reference, provenance by platform."""
    return {name: value for name, value in merge_responses(solved).items() if name.startswith(RECORDS)}


def add_pushed_tags(failure: SolveError, push: Push | None, *, several: bool) -> SolveError:
    """Add to the failure of a push the names that registries have now.

    Names are pushed in order, up to the first that fails (BuildKit 0.34.2, ``exporter/containerimage/export.go``). If
    ``several`` nodes push, they push by digest, and the tags follow when all have pushed.
    """
    if push is None or len(push.names) < 2:
        return failure
    names = [one.name for one in push.references] if several else list(push.names)
    failed = next((place for place, name in enumerate(names) if f"failed to push {name}: " in failure.message), None)
    if failed is None:
        return failure
    before = [] if several else [str(one) for one in push.references[:failed]]
    done = f"pushed already: {', '.join(before)}" if before else "no tags were pushed"
    return failure.reword(f"{failure.message} ({done})")


def measure_images(result: BuildResult, builder: BuilderSettings, env: Mapping[str, str]) -> dict[str, int]:
    """Return the compressed bytes of each platform's image, {} if the registry does not report them."""
    from ci_buildx.builder.manifests import buildkitd
    from ci_buildx.registry import credentials
    from ci_buildx.registry.client import RegistryClient, RegistryRepository
    from ci_buildx.registry.content import read_platform

    sizes: dict[str, int] = {}
    try:
        home = RegistryRepository.from_reference(reference.parse_reference(result.references[0]))
        with RegistryClient(credentials.load_credentials(env), trust=buildkitd.make_registry_trust(builder)) as client:
            document = client.read_manifest(home, result.digest)
            if not document.is_index:
                return {str(platform): _sum_sizes(document) for platform in result.platforms[:1]}
            for entry in document.entries:
                platform = read_platform(entry)
                if platform is not None:
                    sizes[str(platform)] = _sum_sizes(client.read_manifest(home, entry["digest"]))
    except KubeBuilderError:
        return {}
    return sizes


def _sum_sizes(manifest: ManifestDocument) -> int:
    return sum(int(blob.get("size", 0)) for blob in manifest.blobs)
