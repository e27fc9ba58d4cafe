"""Translates a resolved target into the options of ``build``, and lists what it asks for on this machine."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from ci_buildx.bake.paths import CWD, add_folder, list_git_secrets
from ci_buildx.bake.targets import LINK, BakeTarget
from ci_buildx.errors import InputError
from ci_buildx.hcl.functions.text import clean_path
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.contexts import DOCKERFILE, is_git_by_ssh, is_remote, split_layout
from ci_buildx.settings.raw_values import Value

MOST_BUILT = 1000
"""Maximum number of targets of one command: each has a thread of its own, and a definition may have any number."""
_LAYOUT = "oci-layout://"
_IMAGE = "docker-image://"
_URLS = ("http://", "https://")
_ANNOTATION = "annotation"
_DEFAULT_AGENT = "default"
_STDIN = "-"
_LISTS = {
    "tags": "tags",
    "platforms": "platforms",
    "annotations": "annotations",
    "no-cache-filter": "no-cache-filters",
    "ulimits": "ulimit",
    "entitlements": "allow",
}
"""Attributes that are lists of texts, and their options."""
_ENTRIES = {
    "attest": "attests",
    "cache-from": "cache-from",
    "cache-to": "cache-to",
    "output": "outputs",
    "secret": "secrets",
    "ssh": "ssh",
    "policy": "policy",
}
_TEXTS = ("target", "network", "shm-size", "call")
_SWITCHES = ("pull", "no-cache")
_MAPS = {"args": "build-args", "labels": "labels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInputs:
    """One target: ``values`` are options of ``build`` by name, ``links`` the targets of its named contexts.

    ``inline`` is the text of its Dockerfile, None if that is a file. ``deletes``: an output clears its folder.
    ``url_paths`` look like URLs, but are local paths if a folder of that name exists.
    """

    name: str
    description: str
    values: Mapping[str, Value]
    links: Mapping[str, str] = field(default_factory=dict)
    inline: str | None = None
    linked: bool = False
    entitlements: tuple[str, ...] = ()
    read_paths: tuple[str, ...] = ()
    url_paths: tuple[str, ...] = ()
    written_paths: tuple[str, ...] = ()
    uses_agent: bool = False
    deletes: bool = False


def list_inputs(targets: Mapping[str, BakeTarget], remote: str, env: Mapping[str, str]) -> list[TargetInputs]:
    """Return the options of all targets in the order of their names. Raises InputError, also if there are too many.

    See :func:`make_inputs`.
    """
    if len(targets) > MOST_BUILT:
        message = f"{len(targets)} targets are requested, more than {MOST_BUILT}"
        raise InputError(message, fix="name fewer targets, in several commands")
    return [make_inputs(target, remote, env) for _, target in sorted(targets.items())]


def make_inputs(target: BakeTarget, remote: str, env: Mapping[str, str]) -> TargetInputs:
    """Return a target's options; ``remote`` is the URL that its definition was read from, "" for local files.

    Raises InputError for standard input, which several targets cannot share, and for entries that the options of a
    build would read differently.
    """
    for name in ("context", "dockerfile"):
        if target.get(name) == _STDIN:
            raise InputError(f"{name} from stdin not allowed in bake", source=f"target {target.name}")
    _check_entries(target)
    place = _ContextPlace.find(target, remote)
    values: dict[str, Value] = {"context": place.context, "file": place.dockerfile}
    links: dict[str, str] = {}
    contexts: list[str] = []
    for name, path in sorted(target.get("contexts", {}).items()):
        if path.startswith(LINK):
            links[name] = path.removeprefix(LINK)
        else:
            contexts.append(f"{name}={_place_context(path, remote)}")
    values["build-contexts"] = contexts
    values |= _make_options(target)
    if remote:
        own = values["secrets"]
        values["secrets"] = [*(own if isinstance(own, list) else ()), *list_git_secrets(remote, place.context, env)]
    if not target.get("ssh") and (is_git_by_ssh(place.context) or (remote and is_git_by_ssh(remote))):
        values["ssh"] = [_DEFAULT_AGENT]
    return TargetInputs(
        name=target.name,
        description=target.get("description") or "",
        values={name: value for name, value in values.items() if value not in ("", [])},
        links=links,
        inline=target.get("dockerfile-inline"),
        linked=target.linked,
        entitlements=tuple(target.get("entitlements", ())),
        read_paths=_list_read(target, place, contexts, env),
        written_paths=_list_written(target),
        url_paths=tuple(path for path in (place.context, *_list_locations(contexts)) if is_remote(path)),
        uses_agent=values["ssh"] == [_DEFAULT_AGENT] or any(not any(one.paths) for one in target.get("ssh", ())),
        deletes=any(one.type == "local" and one.get("mode") == "delete" for one in target.get("output", ())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContextPlace:
    """The context and the Dockerfile as options of ``build``; a local context's Dockerfile is inside it."""

    context: str
    dockerfile: str
    is_local: bool

    @classmethod
    def find(cls, target: BakeTarget, remote: str) -> _ContextPlace:
        path, dockerfile = target.get("context") or ".", target.get("dockerfile") or "Dockerfile"
        is_here = path.startswith(CWD)
        context = _place_context(path, remote)
        local = not is_remote(context)
        if dockerfile.startswith(CWD):
            return cls(
                context=context, dockerfile=str(Path(clean_path(dockerfile[len(CWD) :])).absolute()), is_local=local
            )
        if dockerfile.startswith(_URLS):
            return cls(context=context, dockerfile=dockerfile, is_local=local)
        dockerfile = clean_path(dockerfile)
        inside = posixpath.join(context, dockerfile)
        if is_here and remote and local and Path(inside).exists():
            message = "reading a dockerfile for a remote build invocation is currently not supported"
            raise InputError(message, source=f"target {target.name}", fix="write dockerfile = cwd://Dockerfile")
        return cls(context=context, dockerfile=inside if local else dockerfile, is_local=local)


def _place_context(path: str, remote: str) -> str:
    """Return a context as ``build`` takes it; in a remote definition, folders are those of its repository."""
    if path.startswith(CWD):
        return clean_path(path.removeprefix(CWD))
    if is_remote(path) or path.startswith((_IMAGE, _LAYOUT)):
        return path
    return add_folder(remote, path) if remote else clean_path(path)


def _make_options(target: BakeTarget) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, option in _LISTS.items():
        values[option] = list(target.get(name, ()))
    for name, option in _ENTRIES.items():
        values[option] = [one.to_text() for one in target.get(name, ())]
    for name in _TEXTS:
        values[name] = target.get(name) or ""
    for name in _SWITCHES:
        values[name] = bool(target.get(name))
    for name, option in _MAPS.items():
        values[option] = [f"{key}={text}" for key, text in sorted(target.get(name, {}).items())]
    values["resources"] = [f"{key}={one}" for key, one in (target.get("resources") or {}).items()]
    hosts = sorted(target.get("extra-hosts", {}).items())
    values["add-hosts"] = [f"{host}={address}" for host, text in hosts for address in text.split(",")]
    if values["call"] == "build":
        values["call"] = ""
    return values


def _check_entries(target: BakeTarget) -> None:
    """Raise InputError for an entry whose text an option would read differently: what is granted is what is used."""
    typed = [one for name in ("cache-from", "cache-to", "output") for one in target.get(name, ())]
    names = [name for one in typed for name, _ in one.attrs if not _is_plain(name)]
    names += [text for one in target.get("secret", ()) if (text := one.to_text()) != text.strip()]
    agents = target.get("ssh", ())
    names += [one.id for one in agents if one.id != one.id.strip() or "=" in one.id or "," in one.id]
    names += [path for one in agents for path in one.paths if "," in path]
    if names:
        message = f"{names[0]!r} is not a valid name or path"
        fix = "write attributes in lower case, and paths without commas and surrounding white space"
        raise InputError(message, source=f"target {target.name}", fix=fix)


def _is_plain(name: str) -> bool:
    """Return whether an option reads the name of an attribute unchanged, or as that of another annotation."""
    read = name.strip().lower()
    return "=" not in name and bool(read) and (read == name or read.startswith(_ANNOTATION))


def _list_locations(contexts: list[str]) -> list[str]:
    """Return what named contexts name."""
    return [text.partition("=")[2] for text in contexts]


def _list_read(
    target: BakeTarget, place: _ContextPlace, contexts: list[str], env: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the local paths that a target reads (docker buildx 0.38.2, ``collectLocalPaths``)."""
    found: list[str] = []
    if place.is_local:
        found.append(place.context)
    if (place.is_local or posixpath.isabs(place.dockerfile)) and not place.dockerfile.startswith(_URLS):
        found.append(place.dockerfile)
        folder, name = posixpath.split(place.dockerfile)
        found += [posixpath.join(folder, name.lower())] if name == DOCKERFILE else []
    for path in _list_locations(contexts):
        if path.startswith(_LAYOUT):
            found.append(split_layout(path.removeprefix(_LAYOUT))[0])
        elif not is_remote(path) and not path.startswith(_IMAGE):
            found.append(path)
    found += [one.get("src") for one in target.get("cache-from", ()) if one.type == "local" and one.get("src")]
    for one in target.get("secret", ()):
        if one.src or not (one.env or one.id in env):
            found.append(one.src or one.id)
    found += [path for one in target.get("ssh", ()) for path in one.paths]
    return tuple(found)


def _list_written(target: BakeTarget) -> tuple[str, ...]:
    outputs = [one.get("dest") for one in target.get("output", ()) if one.get("dest") not in ("", _STDIN)]
    caches = [one.get("dest") for one in target.get("cache-to", ()) if one.type == "local" and one.get("dest")]
    return (*outputs, *caches)
