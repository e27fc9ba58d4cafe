"""What several nodes pushed by digest, joined under the build's tags."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ci_buildx.builder import lifecycle
from ci_buildx.builder.builder import Builder
from ci_buildx.errors import RegistryError, SolveError
from ci_buildx.job.result import DESCRIPTOR, DIGEST, NAME
from ci_buildx.job.site import Site
from ci_buildx.job.solve import Solved
from ci_buildx.model import reference
from ci_buildx.registry.credentials import CredentialStore

_MODULES = ("requests", "ci_buildx.registry.client", "ci_buildx.registry.index", "ci_buildx.registry.trust")


def load() -> None:
    """Import what :func:`join` needs: builds on one node never do, and it takes as long as a small build."""
    for name in _MODULES:
        import_module(name)


def join(site: Site, builder: Builder, solved: Sequence[Solved], store: CredentialStore) -> dict[str, str]:
    """Merge the nodes' images into one index under every tag; the response of an exporter that had done it."""
    from ci_buildx.registry import index, trust
    from ci_buildx.registry.client import RegistryClient

    tags = [reference.parse(tag).tagged() for tag in site.settings.build.tags]
    sources = [one.response[DIGEST] for one in solved]
    notes = {
        name.removeprefix("index:"): value
        for name, value in site.settings.build.annotations
        if name.startswith("index:")
    }
    names = ",".join(map(str, tags))
    config = site.settings.builder.buildkitd_config or lifecycle.read_config(site.kube, builder)
    with (
        site.phases.measure("merge"),
        site.display.phase(f"merging index {names}"),
        RegistryClient(store, trust=trust.read(config)) as client,
    ):
        descriptor = index.merge(client, tags[0], tags, sources, annotations=notes or None)
    described = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    encoded = base64.b64encode(json.dumps(described, separators=(",", ":")).encode()).decode()
    return {DIGEST: descriptor.digest, DESCRIPTOR: encoded, NAME: names}


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


def name_pushed(failure: SolveError, tags: Sequence[str]) -> SolveError:
    """The failure of a push with the tags that registries have now.

    They are pushed in their order, up to the first that fails (BuildKit 0.34.2, ``exporter/containerimage/export.go``);
    several nodes push without a tag, which comes when all have.
    """
    tagged = [reference.parse(tag).tagged() for tag in tags]
    names = [str(name) for name in tagged]
    failed = next((name for name in names if f"failed to push {name}: " in failure.message), "")
    by_digest = any(f"failed to push {name.name}: " in failure.message for name in tagged)
    if len(names) < 2 or not (failed or by_digest):
        return failure
    before = names[: names.index(failed)] if failed else []
    done = f"pushed already: {', '.join(before)}" if before else "no tag was pushed"
    return failure.saying(f"{failure.message} ({done})")
