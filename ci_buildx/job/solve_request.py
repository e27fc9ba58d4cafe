"""The Solve requests of a build as JSON shows them. Secrets are in it: who prints it hides them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.builder.plan import NodePlan
from ci_buildx.buildkit import actions_cache, cache_names, exporters, request
from ci_buildx.buildkit.messages import Entry, SolveRequest
from ci_buildx.job import origin
from ci_buildx.job.caches import known_platforms
from ci_buildx.model import reference
from ci_buildx.model.record import replace
from ci_buildx.settings.values import BuildSettings


def shown(build: BuildSettings, nodes: Sequence[NodePlan], env: Mapping[str, str]) -> dict[str, Any]:
    """What a node would be sent that builds everything; with several, ``nodes`` has what differs for each."""
    platforms = [platform for node in nodes for platform in node.platforms]
    imports = cache_names.read_all(build.cache_from, platforms)
    build = replace(
        build,
        cache_from=actions_cache.complete(imports, env),
        cache_to=actions_cache.complete(build.cache_to, env),
    )
    whole = NodePlan(name="", architecture=None, platforms=tuple(platforms))
    made = _request(build, whole, env, several=False)
    answer = {
        "frontend": made.frontend,
        "attributes": _attributes(made),
        "exporters": _entries(made.exporters),
        "tags": [{"typed": tag, "normalized": str(reference.parse(tag).tagged())} for tag in build.tags],
        "cache": {"imports": _entries(made.cache.imports), "exports": _entries(made.cache.exports)},
        "entitlements": list(made.entitlements),
        "secrets": [secret.id for secret in build.secrets],
        "ssh": [agent.id for agent in build.ssh],
    }
    if len(nodes) < 2:
        return answer
    return answer | {"nodes": [_share(build, node, env) for node in nodes]}


def _share(build: BuildSettings, node: NodePlan, env: Mapping[str, str]) -> dict[str, Any]:
    exports = cache_names.write_own(build.cache_to, known_platforms(node)[0]) if build.cache_to else ()
    made = _request(replace(build, cache_to=exports), node, env, several=True)
    share = {"name": node.name, "attributes": _attributes(made), "exporters": _entries(made.exporters)}
    return share | ({"cache": {"exports": _entries(made.cache.exports)}} if exports else {})


def _request(build: BuildSettings, node: NodePlan, env: Mapping[str, str], *, several: bool) -> SolveRequest:
    return request.make(
        build,
        ref="",
        session_id="",
        platforms=node.platforms,
        exporters=exporters.make(build, by_digest=several).exporters,
        multi_platform=several,
        folder_key=lambda folder: origin.shared_key(folder, env),
    )


def _attributes(made: SolveRequest) -> dict[str, Any]:
    """The frontend's attributes; the list that one of them holds as JSON is shown as a list."""
    texts = sorted(made.frontend_attrs.items())
    return {name: json.loads(text) if name == request.CACHE_IMPORTS else text for name, text in texts}


def _entries(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    return [{"type": entry.type, "attributes": dict(entry.attrs)} for entry in entries]
