"""Locations of the build's files: the context, named contexts and the Dockerfile.

The rules for remote locations are those of buildx 0.38.2 (``build/opt.go``, ``util/urlutil``) and BuildKit v0.34.2
(``frontend/dockerfile/dfgitutil/git_ref.go``, ``util/gitutil/git_url.go``, ``util/sshutil/scpurl.go``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.programs import find_escape
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import find_nearest
from ci_buildx.settings.values import ImageLayout, NamedContext

DOCKERFILE = "Dockerfile"
STDIN = "-"
_HTTP = ("http://", "https://")
_SCHEME = compile_lazily(r"(?P<scheme>[a-zA-Z0-9-]+)://")
_GIT_SCHEMES = ("http", "https", "ssh", "git")
_LAYOUT = "oci-layout://"
_LAYOUT_INDEX = "index.json"
_OF_LAYOUT = compile_lazily(
    r"(?P<folder>.*?)(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?(?:@(?P<digest>sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})))?",
    re.DOTALL,
)
_IMAGE = "docker-image://"
_SCP = compile_lazily(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileLocation:
    """Location of the Dockerfile: ``path`` on this machine, or None with its ``name`` inside a remote context.

    ``origin`` is ``-`` or a URL if the Dockerfile must first be read from there; ``name`` is then the name it will get.
    """

    path: Path | None
    name: str
    origin: str = ""


def refuse_escape(path: Path, *, source: str, env: Mapping[str, str]) -> Path:
    """Return a path that the job reads or writes, unless links lead it out of the CI job's workspace.

    The author of the checkout could otherwise have the job send or overwrite files of the runner. Raises InputError.
    """
    target = find_escape(path, env)
    if target is None:
        return path
    message = f"{str(path)!r} leads out of the job's workspace by a symbolic link, to {str(target)!r}"
    raise InputError(message, source=source, fix="name that path itself, or remove the link")


def parse_context(text: str, *, source: str, cwd: Path, env: Mapping[str, str]) -> Path | str:
    """Parse a context: an existing folder (returned as absolute path), a URL as typed, or ``-`` for standard input.

    Raises InputError with a suggestion for anything else.
    """
    if text == STDIN:
        return text
    path = cwd / text
    if _is_dir(path):
        return refuse_escape(path, source=source, env=env)
    if is_remote(text):
        return text
    if scheme := _SCHEME.match(text):
        known = ", ".join(_GIT_SCHEMES)
        raise InputError(f"unknown URL scheme {scheme['scheme']!r} in {text!r}", source=source, fix=f"known: {known}")
    if _is_file(path):
        raise InputError(
            f"context {text!r} is a file, not a folder",
            source=source,
            fix="name its folder, or pass a Dockerfile with --file (input file)",
        )
    match = find_nearest(path.name, _list_names(path.parent, folders=True))
    raise InputError(
        f"context folder {text!r} does not exist",
        source=source,
        fix=f"did you mean {str(Path(text).parent / match)!r}?" if match else "",
    )


def is_remote(text: str) -> bool:
    """Return whether BuildKit itself fetches this: HTTP(S) URL, git URL, ``github.com/…`` or ``user@host:path``."""
    if text.startswith(_HTTP):
        return True
    if text.startswith(("./", "../")):
        return False
    if text.startswith("github.com/") or _SCP.fullmatch(text):
        return True
    scheme = _SCHEME.match(text)
    return scheme is not None and scheme["scheme"].lower() in ("ssh", "git")


def is_git(text: str) -> bool:
    """Return whether BuildKit clones this; an HTTP(S) URL only if its path ends with ``.git``."""
    if text.startswith(_HTTP):
        return text.partition("#")[0].partition("?")[0].endswith(".git")
    return is_remote(text)


def is_git_by_ssh(text: str) -> bool:
    """Return whether BuildKit clones this by SSH: ``ssh://…`` or ``user@host:path``."""
    scheme = _SCHEME.match(text)
    return scheme["scheme"].lower() == "ssh" if scheme else _SCP.fullmatch(text) is not None


def parse_named_contexts(
    texts: Iterable[str], *, source: str, cwd: Path, env: Mapping[str, str]
) -> tuple[NamedContext, ...]:
    """Parse ``name=folder``, ``name=docker-image://…``, ``name=oci-layout://…`` or ``name=URL``.

    The last entry of a name wins. Names are references, normalised without the tag ``latest`` (buildx 0.38.2
    ``util/buildflags/context.go``). Raises InputError.
    """
    named = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise InputError(f"{text!r} is not name=context", source=source, fix="write name=FOLDER or name=URL")
        try:
            name = reference.parse_reference(key).familiar.removesuffix(":latest")
        except ValueError as error:
            raise InputError(f"invalid context name {key!r}: {error}", source=source) from error
        named[name] = NamedContext(name=name, location=_parse_location(name, value, source, cwd, env))
    return tuple(named.values())


def split_layout(text: str) -> tuple[str, str, str]:
    """Split ``FOLDER[:TAG][@DIGEST]`` into folder, tag and digest, "" for those that are missing."""
    match = _OF_LAYOUT.fullmatch(text)
    assert match is not None
    return match["folder"], match["tag"] or "", match["digest"] or ""


def _parse_layout(name: str, text: str, source: str, cwd: Path, env: Mapping[str, str]) -> ImageLayout:
    """Parse ``FOLDER[:TAG][@DIGEST]`` (buildx 0.38.2 ``util/ocilayout``).

    A malformed tag or digest counts as part of the folder's name.
    """
    place, tag, digest = split_layout(text)
    folder = refuse_escape(cwd / place, source=source, env=env)
    if not _is_file(folder / _LAYOUT_INDEX):
        raise InputError(
            f"context {name!r}: {place!r} is not an OCI image layout: {_LAYOUT_INDEX} not found",
            source=source,
            fix="write oci-layout://FOLDER:TAG or oci-layout://FOLDER@DIGEST",
        )
    return ImageLayout(folder=folder, tag=tag if tag or digest else reference.DEFAULT_TAG, digest=digest)


def _parse_location(name: str, text: str, source: str, cwd: Path, env: Mapping[str, str]) -> Path | ImageLayout | str:
    if text.startswith(_IMAGE):
        image = text.removeprefix(_IMAGE)
        try:
            reference.parse_reference(image)
        except ValueError as error:
            raise InputError(f"context {name!r}: invalid image {image!r}: {error}", source=source) from error
        return text
    if text.startswith(_LAYOUT):
        return _parse_layout(name, text.removeprefix(_LAYOUT), source, cwd, env)
    if text.startswith("target:"):
        raise InputError(
            f"context {name!r}: only bake supports another target's result",
            source=source,
            fix="use a stage of the Dockerfile, or kube-builder bake",
        )
    if text == STDIN:
        raise InputError(f"context {name!r}: standard input can only be the main context", source=source)
    return parse_context(text, source=source, cwd=cwd, env=env)


def find_dockerfile(
    text: str, *, context: Path | str, source: str, cwd: Path, env: Mapping[str, str]
) -> DockerfileLocation:
    """Find the Dockerfile: ``text`` relative to ``cwd``, by default ``Dockerfile`` or ``dockerfile`` in the context.

    With a remote context, or an archive from standard input, BuildKit looks up a relative name there. Raises InputError
    if the file does not exist.
    """
    if text == STDIN == context:
        raise InputError("standard input cannot be both context and Dockerfile", source=source, fix="name a file")
    if text == STDIN or text.startswith(_HTTP):
        return DockerfileLocation(path=None, name=DOCKERFILE, origin=text)
    if isinstance(context, str) and (context == STDIN or not Path(text).is_absolute()):
        return DockerfileLocation(path=None, name=text or DOCKERFILE)
    wanted = cwd / text if text else Path(context) / DOCKERFILE
    found = _resolve_existing(wanted)
    if found:
        return DockerfileLocation(path=refuse_escape(found, source=source, env=env), name=found.name)
    shown = text or str(wanted.relative_to(cwd) if wanted.is_relative_to(cwd) else wanted)
    raise InputError(
        f"Dockerfile {shown!r} is a folder" if _is_dir(wanted) else f"Dockerfile {shown!r} does not exist",
        source=source,
        fix=_suggest_dockerfile(text, wanted, context),
    )


def _resolve_existing(path: Path) -> Path | None:
    if _is_file(path):
        return path
    lower = path.with_name(DOCKERFILE.lower())
    return lower if path.name == DOCKERFILE and _is_file(lower) else None


def _suggest_dockerfile(text: str, wanted: Path, context: Path | str) -> str:
    """Suggest the same name inside the context, or files in the searched folder that look like Dockerfiles."""
    if text and isinstance(context, Path) and _is_file(context / text):
        return f"the path is relative to the working directory: did you mean {str(context / text)!r}?"
    names = _list_names(wanted.parent, folders=False)
    found = sorted(
        name for name in names if name.lower().startswith("dockerfile") or name.lower().endswith(".dockerfile")
    )
    candidates = [name for name in found if not name.endswith(".dockerignore")]
    if not candidates:
        return "" if text else "name one with --file"
    return f"found: {', '.join(candidates[:5])}" + ("" if text else "; name one with --file")


def _list_names(folder: Path, *, folders: bool) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() == folders)
    except (OSError, ValueError):
        return []


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
