"""Whether a build can be done again: what it needs must be recorded, fetchable, and given again.

The conditions are those of docker buildx 0.38.2 (``replay/build.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from ci_buildx.errors import InputError
from ci_buildx.replay.pins import IMAGE, is_git_source, list_pins, name_git_source
from ci_buildx.replay.predicate import MAX_MODE, BuildPredicate, DeclaredInput
from ci_buildx.replay.subject import SOURCE
from ci_buildx.settings.contexts import is_remote

CONTEXT = "context:"
_SESSION = "buildkit-session"
"""Host of the URL of a context that the client sent as an archive (BuildKit v0.34.2, ``session/upload``)."""
_HERE = ("oci-layout://", "local:", "input:", "target:")
_OF_SOURCES = ("GIT_AUTH_TOKEN", "GIT_AUTH_HEADER", "HTTP_AUTH_TOKEN", "HTTP_AUTH_HEADER")
"""Secrets for fetching sources, which provenance does not list (BuildKit v0.34.2, ``source/git``, ``source/http``)."""
_FRONTENDS = ("dockerfile.v0", "gateway.v0")


class ReplayMode(StrEnum):
    """How sources are found: with the recorded content, or again by their names."""

    MATERIALS = "materials"
    FRONTEND = "frontend"


def check_predicate(predicate: BuildPredicate, mode: ReplayMode, *, secrets: Iterable[str], ssh: Iterable[str]) -> None:
    """Raise InputError if the build cannot be done again with the given ids of secrets and agents."""
    if names := list_local_inputs(predicate):
        message = f"image was built from local inputs that replay cannot fetch ({', '.join(names)})"
        raise InputError(message, source=SOURCE, fix="only a context in a git repository or at a URL can be fetched")
    if not predicate.has_steps:
        message = "provenance was recorded with mode=min, which omits build arguments, secrets and SSH"
        raise InputError(message, source=SOURCE, fix=MAX_MODE)
    _check_frontend(predicate)
    _check_locations(predicate)
    if mode is ReplayMode.MATERIALS:
        _check_pinned(predicate)
    check_inputs(predicate.secrets, secrets, what="secrets", flag="--secret", form="id={},src=FILE")
    check_inputs(predicate.ssh, ssh, what="ssh entries", flag="--ssh", form="{}=SOCKET")


def list_local_inputs(predicate: BuildPredicate) -> list[str]:
    """Return the names of inputs that only the machine of the original build had."""
    found = set(predicate.locals)
    if any(_is_session(uri) for uri in (predicate.source.uri, predicate.attributes.get("context", ""))):
        found.add("context (stdin)")
    for name, location in list_contexts(predicate):
        if location.startswith(_HERE):
            found.add(name)
    return sorted(found)


def list_contexts(predicate: BuildPredicate) -> list[tuple[str, str]]:
    """Return the named contexts and their locations."""
    pairs = sorted(predicate.attributes.items())
    return [(name.removeprefix(CONTEXT), text) for name, text in pairs if name.startswith(CONTEXT)]


def find_context(predicate: BuildPredicate) -> str:
    """Return the URI of the context, "" if it is not recorded."""
    return predicate.source.uri or predicate.attributes.get("context", "")


def check_inputs(declared: Sequence[DeclaredInput], given: Iterable[str], *, what: str, flag: str, form: str) -> None:
    """Raise InputError if required inputs are not given, or others are: nothing is passed on that was not declared."""
    names = set(given)
    missing = sorted(one.id for one in declared if not one.optional and one.id not in names)
    if missing:
        raise InputError(f"missing required {what}: {', '.join(missing)}", fix=f"add {flag} {form.format(missing[0])}")
    extra = sorted(name for name in names - {one.id for one in declared} if not name.startswith(_OF_SOURCES))
    if extra:
        message = f"extra {what} not declared in provenance: {', '.join(extra)}"
        raise InputError(message, source=flag, fix="omit them")


def _check_frontend(predicate: BuildPredicate) -> None:
    if predicate.frontend not in _FRONTENDS:
        raise InputError(f"the build used the frontend {predicate.frontend[:100]!r}, which is unknown", source=SOURCE)
    command = predicate.attributes.get("source") or predicate.attributes.get("cmdline", "").strip()
    if predicate.frontend != _FRONTENDS[0] and not command:
        raise InputError("the provenance has no source of its frontend gateway.v0", source=SOURCE)


def _check_locations(predicate: BuildPredicate) -> None:
    """Reject anything that is not a URL for BuildKit: a recorded location must never name a path of this machine."""
    context = find_context(predicate)
    if not context:
        raise InputError("the provenance records no context", source=SOURCE, fix="replay needs a git or HTTP context")
    if not is_remote(context):
        raise InputError(f"the recorded context {context[:200]!r} is not a URL", source=SOURCE)
    for name, location in list_contexts(predicate):
        if not (location.startswith(IMAGE) or is_remote(location)):
            message = f"the recorded context {name[:100]!r} is {location[:200]!r}, not an image or a URL"
            raise InputError(message, source=SOURCE)


def _check_pinned(predicate: BuildPredicate) -> None:
    """Reject a folder of a repository without a commit: BuildKit before 0.25 recorded none for such contexts."""
    uri = predicate.source.uri
    if predicate.source.digest or ":" not in uri.partition("#")[2]:
        return
    name = name_git_source(uri) if is_git_source(uri) else ""
    if name not in {pin.identifier for pin in list_pins(predicate)}:
        raise InputError(
            f"cannot pin the git context {uri[:200]}: its commit is not recorded",
            source=SOURCE,
            fix="set --replay-mode=frontend to build without pins",
        )


def _is_session(uri: str) -> bool:
    try:
        return urlsplit(uri).hostname == _SESSION
    except ValueError:
        return False
