"""What several nodes pushed by digest, joined under the build's names."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import lifecycle
from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit.exporters import Push
from ci_buildx.errors import RegistryError, SolveError
from ci_buildx.job.result import DESCRIPTOR, DIGEST, NAME
from ci_buildx.job.site import Site
from ci_buildx.job.solve import Solved
from ci_buildx.model import reference
from ci_buildx.model.record import replace
from ci_buildx.registry.credentials import CredentialStore

if TYPE_CHECKING:
    from ci_buildx.registry.trust import Trust

_MODULES = ("requests", "ci_buildx.registry.client", "ci_buildx.registry.index", "ci_buildx.registry.trust")


def load() -> None:
    """Import what :func:`join` needs: builds on one node never do, and it takes as long as a small build."""
    for name in _MODULES:
        import_module(name)


def join(site: Site, builder: Builder, push: Push, solved: Sequence[Solved], store: CredentialStore) -> dict[str, str]:
    """Merge the nodes' images into one index under every name; the response of an exporter that had done it."""
    from ci_buildx.registry import index
    from ci_buildx.registry.client import RegistryClient

    wanted = list(push.references)
    if push.dangling:
        wanted.append(replace(reference.parse(push.dangling), tag=""))
    sources = [one.response[DIGEST] for one in solved]
    names = ",".join(map(str, push.references))
    insecure = {wanted[0].domain} if push.insecure else set()
    with (
        site.phases.measure("merge"),
        site.display.phase(f"merging index {names}"),
        RegistryClient(store, trust=trust_of(site, builder, insecure)) as client,
    ):
        descriptor = index.merge(client, wanted[0], wanted, sources, annotations=dict(push.annotations) or None)
    if push.dangling:
        names += f",{wanted[-1].name}@{descriptor.digest}"
    described = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    encoded = base64.b64encode(json.dumps(described, separators=(",", ":")).encode()).decode()
    return {DIGEST: descriptor.digest, DESCRIPTOR: encoded, NAME: names}


def trust_of(site: Site, builder: Builder, insecure: Iterable[str] = ()) -> Trust:
    """What the builder's configuration declares of registries; ``insecure`` ones by ``registry.insecure=true``."""
    from ci_buildx.builder import registries

    if not site.settings.builder_name:
        return registries.trust_by_settings(site.settings.builder).relaxed(insecure)
    files = lifecycle.read_files(site.kube, builder)
    has_keys = any(registries.KEYS_FOLDER in text for text in files.values())
    secrets = lifecycle.read_secret_files(site.kube, builder) if has_keys else {}
    return registries.trust(files, secrets).relaxed(insecure)


def pushed_by_digest(solved: Sequence[Solved]) -> bool:
    """Whether the nodes pushed images that are to be joined."""
    if len(solved) < 2:
        return False
    without = [one.connection.node.name for one in solved if DIGEST not in one.response]
    if without and len(without) < len(solved):
        raise RegistryError(f"node {', '.join(without)} pushed nothing", fix="look at its last lines above")
    return not without


def together(solved: Sequence[Solved]) -> dict[str, Any]:
    """The responses of all nodes in one; of what several say, the first node's."""
    responses: dict[str, Any] = {}
    for one in reversed(solved):
        responses |= one.response
    return responses


def name_pushed(failure: SolveError, push: Push | None, *, several: bool) -> SolveError:
    """The failure of a push with the names that registries have now.

    They are pushed in their order, up to the first that fails (BuildKit 0.34.2, ``exporter/containerimage/export.go``);
    ``several`` nodes push to repositories, whose tags come when all have.
    """
    if push is None or len(push.names) < 2:
        return failure
    names = [one.name for one in push.references] if several else list(push.names)
    failed = next((place for place, name in enumerate(names) if f"failed to push {name}: " in failure.message), None)
    if failed is None:
        return failure
    before = [] if several else [str(one) for one in push.references[:failed]]
    done = f"pushed already: {', '.join(before)}" if before else "no tag was pushed"
    return failure.saying(f"{failure.message} ({done})")
