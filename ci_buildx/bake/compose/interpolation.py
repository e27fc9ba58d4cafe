"""Variables in compose files: ``$NAME``, ``${NAME:-default}``, ``$$`` (compose-go 2.16.1, ``template``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ci_buildx.bake.compose.documents import Override

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR = re.compile(r":?[-+?]")


class InvalidTemplate(ValueError):
    """A text has invalid variables, or a required one is missing."""


def interpolate(value: Any, env: Mapping[str, str]) -> Any:
    """Replace the variables in all texts of a document. Raises InvalidTemplate."""
    if isinstance(value, str):
        return substitute(value, env)
    if isinstance(value, dict):
        return {key: interpolate(one, env) for key, one in value.items()}
    if isinstance(value, Override):
        return Override(interpolate(value.value, env))
    return [interpolate(one, env) for one in value] if isinstance(value, list) else value


def substitute(text: str, env: Mapping[str, str], depth: int = 0) -> str:
    """Replace the variables in a text; unset ones are empty. Raises InvalidTemplate."""
    if depth > 50:
        raise InvalidTemplate("variables are nested too deeply")
    found, at = [], 0
    while (sign := text.find("$", at)) >= 0:
        found.append(text[at:sign])
        at = sign + 1
        if text.startswith("$", at):
            found.append("$")
            at += 1
        elif text.startswith("{", at):
            end = _find_end(text, at)
            found.append(_expand(text[at + 1 : end], env, depth))
            at = end + 1
        elif name := _NAME.match(text, at):
            found.append(env.get(name[0], ""))
            at = name.end()
        else:
            found.append("$")
    return "".join(found) + text[at:]


def _find_end(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    raise InvalidTemplate(f'Invalid template: "{text}"')


def _expand(inner: str, env: Mapping[str, str], depth: int) -> str:
    name = _NAME.match(inner)
    operator = _OPERATOR.match(inner, name.end()) if name else None
    if name is None or (operator is None and name.end() < len(inner)):
        raise InvalidTemplate(f'Invalid template: "${{{inner}}}"')
    value = env.get(name[0])
    if operator is None:
        return value or ""
    kind, rest = operator[0], inner[operator.end() :]
    present = bool(value) if kind.startswith(":") else value is not None
    if kind.endswith("?"):
        if not present:
            reason = substitute(rest, env, depth + 1)
            raise InvalidTemplate(f"required variable {name[0]} is missing a value{f': {reason}' if reason else ''}")
        return value or ""
    if kind.endswith("-"):
        return value or "" if present else substitute(rest, env, depth + 1)
    return substitute(rest, env, depth + 1) if present else value or ""
