"""The SolveRequest of a build: what buildx 0.38.2 would send (``build/opt.go``), as a pure function.

The names of the attributes are those of BuildKit 0.34.2, ``frontend/dockerui/config.go`` and ``context.go``. Proxy
variables of our environment are not sent: buildx takes them from docker's configuration, never from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ci_buildx.buildkit.exporters import is_true
from ci_buildx.buildkit.messages import CacheOptions, Entry, SolveRequest
from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.session.filesync import CONTEXT, DOCKERFILE
from ci_buildx.settings.values import BuildSettings

_FRONTEND = "dockerfile.v0"
_GATEWAY = "gateway.v0"
_GIT_QUERY = "moby.buildkit.frontend.gitquerystring"


def make(
    build: BuildSettings,
    *,
    ref: str,
    session_id: str,
    platforms: Sequence[Platform],
    exporters: Sequence[Entry],
    multi_platform: bool,
) -> SolveRequest:
    """The request for building ``platforms`` (empty: the worker's own) on one node.

    ``exporters`` come from :func:`ci_buildx.buildkit.exporters.make`; ``multi_platform`` makes even one platform an
    index, for joining. Raises InputError for what BuildKit would refuse or we cannot serve.
    """
    arguments = dict(build.build_args)
    imports = tuple(Entry(cache.type, dict(cache.attrs)) for cache in build.cache_from)
    exports = tuple(Entry(cache.type, dict(cache.attrs)) for cache in build.cache_to)
    if is_true(arguments.get("BUILDKIT_INLINE_CACHE", "")):
        exports = (*exports, Entry("inline", {}))
    attrs = _source(build) | _options(build)
    attrs |= {f"build-arg:{name}": value for name, value in arguments.items()}
    attrs |= {f"label:{name}": value for name, value in build.labels}
    if multi_platform or is_true(arguments.get("BUILDKIT_MULTI_PLATFORM", "")):
        attrs["multi-platform"] = "true"
    if platforms:
        attrs["platform"] = ",".join(map(str, platforms))
    if imports:
        attrs["cache-imports"] = _as_json(imports)
    syntax = _syntax(arguments)
    return SolveRequest(
        ref=ref,
        session=session_id,
        frontend=_GATEWAY if syntax else _FRONTEND,
        frontend_attrs=attrs | syntax,
        exporters=tuple(exporters),
        cache=CacheOptions(exports=exports, imports=imports),
    )


def shared_folders(build: BuildSettings) -> dict[str, Path]:
    """The folders that the request refers to, for :class:`ci_buildx.session.filesync.FileSync`."""
    folders = {} if isinstance(build.context, str) else {CONTEXT: build.context}
    if build.dockerfile is not None:
        folders[DOCKERFILE] = build.dockerfile.parent
    return folders


def shared_key(context: Path | str, *, repository: str = "", checkout: Path | None = None) -> str:
    """The same for each build of a repository's context, on whatever runner, and different for all others.

    buildkitd keeps the last context per key and is sent what has changed; with a key that two contexts share each
    build would delete the other's files first. ``repository`` is any stable name and ``checkout`` where its files
    are; without them the context's own path stands for both.
    """
    if isinstance(context, str):
        name = path = context
    else:
        absolute = context.absolute()
        name = absolute.name
        inside = checkout is not None and absolute.is_relative_to(checkout)
        path = str(absolute.relative_to(checkout) if checkout and inside else absolute)
    identity = "\0".join((repository, path)).encode(errors="surrogateescape")
    return f"{name}:{hashlib.sha256(identity).hexdigest()[:16]}"


def _source(build: BuildSettings) -> dict[str, str]:
    attrs = {"filename": build.dockerfile.name if build.dockerfile else build.dockerfile_name}
    if isinstance(build.context, str):
        attrs["context"] = build.context
        if build.dockerfile is not None:
            attrs["dockerfilekey"] = DOCKERFILE
        if "?" in build.context.partition("#")[0]:
            attrs["frontend.caps"] = _GIT_QUERY
    return attrs


def _options(build: BuildSettings) -> dict[str, str]:
    attrs = {}
    if build.target:
        attrs["target"] = build.target
    if build.no_cache:
        attrs["no-cache"] = ""
    if build.pull:
        attrs["image-resolve-mode"] = "pull"
    if build.provenance:
        attrs["attest:provenance"] = build.provenance
    if build.sbom:
        attrs["attest:sbom"] = build.sbom
    return attrs


def _syntax(arguments: dict[str, str]) -> dict[str, str]:
    """Another frontend, named by the build argument ``BUILDKIT_SYNTAX``: an image, perhaps with a command line."""
    if "BUILDKIT_SYNTAX" not in arguments:
        return {}
    command = arguments["BUILDKIT_SYNTAX"].strip()
    if not command:
        raise InputError("BUILDKIT_SYNTAX is empty", source="--build-arg", fix="name a frontend image or leave it out")
    return {"source": command.split(" ", 1)[0], "cmdline": arguments["BUILDKIT_SYNTAX"]}


def _as_json(entries: Iterable[Entry]) -> str:
    values = [{"Type": entry.type, "Attrs": dict(sorted(entry.attrs.items()))} for entry in entries]
    return json.dumps(values, separators=(",", ":"))
