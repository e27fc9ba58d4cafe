"""Contexts as definitions write them: folders, URLs, ``cwd://``, and what a remote definition means by them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from ci_buildx.bake.targets import LINK, BakeDefinition, BakeTarget
from ci_buildx.hcl.functions.text import clean_path
from ci_buildx.model.record import replace
from ci_buildx.settings.contexts import is_git, is_remote

CWD = "cwd://"
"""Prefix of a path on this machine, in a definition that was read from elsewhere."""
_IMAGE = "docker-image:"
_LAYOUT = "oci-layout://"


_TOKENS = {"GIT_AUTH_TOKEN": "BUILDX_BAKE_GIT_AUTH_TOKEN", "GIT_AUTH_HEADER": "BUILDX_BAKE_GIT_AUTH_HEADER"}
"""Secrets that BuildKit asks for to clone, and their variables."""


def list_git_secrets(remote: str, context: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets to clone a context on the host of the definition ``remote``, named after that host.

    No other host receives them (docker buildx 0.38.2, ``bake/gitauth.go``).
    """
    host = _read_host(remote)
    if not host or host.lower() != _read_host(context).lower():
        return ()
    return tuple(f"id={name}.{host},env={variable}" for name, variable in _TOKENS.items() if env.get(variable))


def _read_host(url: str) -> str:
    """Return host and port of a git repository, "" for other contexts."""
    if not is_git(url):
        return ""
    rest = (f"https://{url}" if url.startswith("github.com/") else url).partition("://")[2]
    return re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]


def is_special(path: str) -> bool:
    """Return whether a context is not a path relative to the definition."""
    return path.startswith((CWD, LINK, _IMAGE, _LAYOUT)) or is_remote(path)


def rebase(base: str, path: str) -> str:
    """Return a path relative to the folder of its definition."""
    if not base or not path or is_special(path) or posixpath.isabs(path):
        return path
    return posixpath.normpath(posixpath.join(base, path))


def find_base(file: str) -> str | None:
    """Return the folder of a local file; None for standard input and URLs."""
    return None if file in ("", "-") or is_remote(file) else posixpath.dirname(file) or "."


def rebase_targets(definition: BakeDefinition) -> BakeDefinition:
    """Return the definition with contexts relative to the files that set them (``BUILDX_BAKE_FILE_RELATIVE_PATHS``)."""
    by_name = {one.name: one for one in definition.targets}
    return replace(definition, targets=tuple(_rebase_target(one, by_name) for one in definition.targets))


def _rebase_target(target: BakeTarget, known: dict[str, BakeTarget]) -> BakeTarget:
    bases = target.bases
    base = bases.context
    other = known.get(bases.reference)
    if other is not None:
        base = other.bases.context if other.bases.context is not None else other.bases.default
    context = target.get("context")
    if context is not None and base is not None:
        target = target.set("context", rebase(base, context))
    contexts = target.get("contexts")
    if contexts:
        moved = {
            name: rebase(bases.named[name], path) if name in bases.named else path for name, path in contexts.items()
        }
        target = target.set("contexts", moved)
    return target


def show_context(path: str, remote: str) -> str:
    """Return a target's context as ``--print`` shows it; ``remote`` is the definition's URL, "" for local ones."""
    if path.startswith(CWD):
        return clean_path(path.removeprefix(CWD))
    if is_remote(path):
        return path
    cleaned = clean_path(path)
    return add_folder(remote, cleaned) if remote else cleaned


def add_folder(remote: str, folder: str) -> str:
    """Return the URL of a folder in a git repository; another URL as it is (buildx, ``remoteURLWithSubdir``)."""
    cleaned = clean_path(folder)
    if cleaned == "." or not is_git(remote):
        return remote
    base, mark, fragment = remote.partition("#")
    ref, _, inner = fragment.partition(":")
    head, question, query = base.partition("?")
    options = [one.partition("=") for one in query.split("&") if one]
    named = {name: value for name, _, value in options}
    inner = inner or named.get("subdir", "")
    whole = clean_path(posixpath.join(inner, cleaned)) if inner else cleaned
    if not mark and "subdir" in named:
        from urllib.parse import urlencode

        return f"{head}{question}{urlencode(sorted((named | {'subdir': whole}).items()))}"
    return f"{base}#{ref}:{whole}"
