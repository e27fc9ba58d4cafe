"""Makes the SolveRequest that buildx 0.38.2 would send for a build (``build/opt.go``), as a pure function.

Attribute names are those of BuildKit 0.34.2, ``frontend/dockerui/config.go`` and ``context.go``. Proxy variables of
the environment are not sent: buildx takes them from docker's configuration only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ci_buildx.buildkit.exporters import is_true
from ci_buildx.buildkit.messages import CALL, CacheOptions, ExporterEntry, SolveRequest
from ci_buildx.model.platform import Platform
from ci_buildx.session.file_targets import CONTEXT, DOCKERFILE
from ci_buildx.settings.values import BuildSettings, ImageLayout, NamedContext, SandboxSettings

_FRONTEND = "dockerfile.v0"
CACHE_IMPORTS = "cache-imports"
_GATEWAY = "gateway.v0"
_GIT_QUERY = "moby.buildkit.frontend.gitquerystring"
_CONTEXTS = "moby.buildkit.frontend.contexts"
_CALLS = "moby.buildkit.frontend.subrequests"
_FORWARD = "+forward"


def make_solve_request(
    build: BuildSettings,
    *,
    ref: str,
    session_id: str,
    platforms: Sequence[Platform],
    exporters: Sequence[ExporterEntry],
    multi_platform: bool,
    folder_key: Callable[[Path], str] | None = None,
) -> SolveRequest:
    """Return the request to build ``platforms`` (empty: the worker's own) on one node.

    ``exporters`` come from :func:`ci_buildx.buildkit.exporters.make_exports`; ``multi_platform`` makes the result an
    index even for one platform, for merging; ``folder_key`` returns the shared key of a named context's folder.
    Raises InputError for settings that BuildKit would refuse or that are not supported here.
    """
    arguments = dict(build.build_args)
    imports = tuple(ExporterEntry(cache.type, dict(cache.attrs)) for cache in build.cache_from)
    exports = tuple(ExporterEntry(cache.type, dict(cache.attrs)) for cache in build.cache_to)
    if is_true(arguments.get("BUILDKIT_INLINE_CACHE", "")):
        exports = (*exports, ExporterEntry("inline", {}))
    attrs = (
        _make_source(build)
        | _add_named_contexts(build, folder_key or make_shared_key)
        | _make_options(build)
        | _make_step_options(build.sandbox)
    )
    attrs |= {f"build-arg:{name}": value for name, value in arguments.items()}
    attrs |= {f"label:{name}": value for name, value in build.labels}
    if multi_platform or is_true(arguments.get("BUILDKIT_MULTI_PLATFORM", "")):
        attrs["multi-platform"] = "true"
    if platforms:
        attrs["platform"] = ",".join(map(str, platforms))
    if imports:
        attrs[CACHE_IMPORTS] = _encode_json(imports)
    syntax = _find_syntax(build.syntax or arguments.get("BUILDKIT_SYNTAX", ""))
    return SolveRequest(
        ref=ref,
        session=session_id,
        frontend=_GATEWAY if syntax else _FRONTEND,
        frontend_attrs=attrs | syntax,
        exporters=tuple(exporters),
        cache=CacheOptions(exports=exports, imports=imports),
        entitlements=build.entitlements,
        source_policy=build.source_policy,
    )


def list_shared_folders(build: BuildSettings) -> dict[str, Path]:
    """Return the folders that the request refers to, for :class:`ci_buildx.session.filesync.FileSyncService`."""
    folders = {} if isinstance(build.context, str) else {CONTEXT: build.context}
    if build.dockerfile is not None:
        folders[DOCKERFILE] = build.dockerfile.parent
    return folders | {_name_local(one): one.location for one in build.contexts if isinstance(one.location, Path)}


def list_layout_stores(build: BuildSettings) -> dict[str, Path]:
    """Return the image layouts that the request refers to, for :class:`ci_buildx.session.content.ContentService`."""
    layouts = (one.location for one in build.contexts if isinstance(one.location, ImageLayout))
    return {f"oci:{_name_store(layout)}": layout.folder for layout in layouts}


def make_shared_key(context: Path | str, *, repository: str = "", checkout: Path | None = None) -> str:
    """Return a key that is equal for all builds of a repository's context, on any runner, and unique to it.

    buildkitd keeps the last context for each key and is sent only the changes; if two contexts shared a key, each build
    would delete the other's files first. ``repository`` is any stable name and ``checkout`` the folder of its files;
    without them the key is derived from the context's own path.
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


def _make_source(build: BuildSettings) -> dict[str, str]:
    attrs = {"filename": build.dockerfile.name if build.dockerfile else build.dockerfile_name}
    if isinstance(build.context, str):
        attrs["context"] = build.context
    if build.dockerfile_origin or (isinstance(build.context, str) and build.dockerfile is not None):
        attrs["dockerfilekey"] = DOCKERFILE
    capabilities = {_GIT_QUERY} if isinstance(build.context, str) and _has_query(build.context) else set()
    if build.contexts:
        capabilities.add(_CONTEXTS + _FORWARD)
    if any(isinstance(one.location, str) and _has_query(one.location) for one in build.contexts):
        capabilities.add(_GIT_QUERY + _FORWARD)
    known = sorted(capabilities)
    if build.call:
        attrs[CALL] = f"frontend.{build.call.method}"
        known.append(_CALLS + _FORWARD)
    if known:
        attrs["frontend.caps"] = ",".join(known)
    return attrs


def _has_query(url: str) -> bool:
    return "?" in url.partition("#")[0] and not url.startswith("docker-image:")


def _add_named_contexts(build: BuildSettings, folder_key: Callable[[Path], str]) -> dict[str, str]:
    attrs = {}
    for one in build.contexts:
        if isinstance(one.location, ImageLayout):
            tag = f":{one.location.tag}" if one.location.tag else ""
            attrs[f"context:{one.name}"] = f"oci-layout://{_name_store(one.location)}{tag}@{one.location.digest}"
        elif isinstance(one.location, Path):
            attrs[f"context:{one.name}"] = f"local:{_name_local(one)}"
            attrs[f"sharedkey:localdir:{one.name}"] = folder_key(one.location)
        else:
            attrs[f"context:{one.name}"] = one.location
    return attrs


def _name_store(layout: ImageLayout) -> str:
    """Return the layout's name in the session, which BuildKit parses as a repository name."""
    return "layout-" + hashlib.sha256(os.fsencode(layout.folder)).hexdigest()[:16]


def _name_local(context: NamedContext) -> str:
    """Return the folder's name in the session, distinct from those of the build's own folders."""
    return f"_{context.name}" if context.name in (CONTEXT, DOCKERFILE) else context.name


def _make_options(build: BuildSettings) -> dict[str, str]:
    attrs = {}
    if build.target:
        attrs["target"] = build.target
    if build.no_cache or build.no_cache_filter:
        attrs["no-cache"] = "" if build.no_cache else ",".join(build.no_cache_filter)
    if build.pull:
        attrs["image-resolve-mode"] = "pull"
    if build.provenance:
        attrs["attest:provenance"] = build.provenance
    if build.sbom:
        attrs["attest:sbom"] = build.sbom
    return attrs | {f"attest:{kind}": text for kind, text in build.attestations}


def _make_step_options(sandbox: SandboxSettings) -> dict[str, str]:
    attrs = {
        "force-network-mode": sandbox.network,
        "add-hosts": ",".join(sandbox.hosts),
        "shm-size": str(sandbox.shm_size or ""),
        "ulimit": ",".join(sandbox.ulimits),
        "cgroup-parent": sandbox.cgroup_parent,
        **dict(sandbox.resources),
    }
    return {name: value for name, value in attrs.items() if value}


def _find_syntax(text: str) -> dict[str, str]:
    """Return the attributes of a frontend that is an image, optionally with arguments."""
    command = text.strip()
    return {"source": command.split(" ", 1)[0], "cmdline": text} if command else {}


def _encode_json(entries: Iterable[ExporterEntry]) -> str:
    values = [{"Type": entry.type, "Attrs": dict(sorted(entry.attrs.items()))} for entry in entries]
    return json.dumps(values, separators=(",", ":"))
