"""Errors and warnings in the words of the surface: where CI systems have inputs, no advice names a flag. Pure."""

from __future__ import annotations

from re import Match

from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings import options
from ci_buildx.settings.option import OptionSurface

_FLAGS = {flag: option for option in options.OPTIONS for flag in option.flags if flag.startswith("--")}
_FLAG = compile_lazily(
    r"(?P<command>\bkube-builder [a-z][^;,)]*)"
    r"|(?<![\w-])(?P<flag>--[a-z][a-z-]*)(?:[ =](?P<value>'[^']*'|[^\s;,]*=[^\s;,]*|[A-Z]+\b|[^\s;,]+(?=$|;)))?"
)
"""A command of kube-builder, whose flags stay, or a flag with the value that follows it: quoted, with ``=``, in capital
letters, or the last word of a sentence.
"""


_LOGIN = compile_lazily(r"log in to (\S+) \(docker login\)(?: or set DOCKER_AUTH_CONFIG)?")
_LOGINS = {
    OptionSurface.GITHUB: r"set inputs registry, username and password for \1",
    OptionSurface.GITLAB: (
        r"set variables KUBE_BUILDER_REGISTRY, KUBE_BUILDER_USERNAME and KUBE_BUILDER_PASSWORD for \1"
    ),
}
"""How jobs log in to a registry."""


def name_inputs(text: str, surface: OptionSurface) -> str:
    """Return ``text`` with each build option's flag replaced by the surface's input, or its variable without one.

    Flags of other programs and of commands (``kube-builder rm --force``) stay. ``docker login`` is replaced as well.
    """
    if surface is OptionSurface.CLI:
        return text
    if "docker login" in text:
        text = _LOGIN.sub(_LOGINS[surface], text)
    return _FLAG.sub(lambda found: _name_input(found, surface), text) if "--" in text else text


def _name_input(found: Match[str], surface: OptionSurface) -> str:
    option = None if found["command"] else _FLAGS.get(found["flag"])
    if option is None:
        return found[0]
    if surface in option.surfaces:
        return f"input {option.name}: {found['value']}" if found["value"] else f"input {option.name}"
    return f"{option.variable}={found['value']}" if found["value"] else option.variable


def reword_error(error: BaseException, surface: OptionSurface) -> None:
    """Reword an error in place: its source, its fix and its notes.

    The message stays, since it may quote a command of the user's Dockerfile.
    """
    if surface is OptionSurface.CLI or not isinstance(error, KubeBuilderError):
        return
    error.fix = name_inputs(error.fix, surface)
    if isinstance(error, InputError):
        error.source = name_inputs(error.source, surface)
    if notes := getattr(error, "__notes__", None):
        notes[:] = (name_inputs(note, surface) for note in notes)
