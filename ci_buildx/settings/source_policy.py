"""Which sources a build may use, from the file that ``EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`` names.

As buildx 0.38.2 reads it (``build/build.go``: ``ReadSourcePolicy``): JSON of ``moby.buildkit.v1.sourcepolicy.Policy``
(BuildKit v0.34.2, ``sourcepolicy/pb``), names in any case and enums by name or number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.settings.building import SOURCE_POLICY
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.values import Constraint, SourcePolicy, SourceRule, SourceSelector, SourceUpdate

_ACTIONS = ("ALLOW", "DENY", "CONVERT")
_MATCHES = ("WILDCARD", "EXACT", "REGEX")
_CONDITIONS = ("EQUAL", "NOTEQUAL", "MATCHES")
_FIX = 'write {"rules": [{"action": "DENY", "selector": {"identifier": "docker-image://…"}}]}'


def read_policy(name: str, *, cwd: Path) -> SourcePolicy:
    """The policy in a file. Raises InputError."""
    try:
        text = (cwd / name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {name!r}: {reason}", source=SOURCE_POLICY) from error
    try:
        policy = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name!r} is not JSON: {error}", source=SOURCE_POLICY, fix=_FIX) from error
    fields = _fields(policy, "the policy", ("version", "rules"))
    return SourcePolicy(
        version=_number(fields.get("version", 0), "version"),
        rules=tuple(_rule(rule) for rule in _list(fields.get("rules"), "rules")),
    )


def _rule(value: object) -> SourceRule:
    fields = _fields(value, "a rule", ("action", "selector", "updates"))
    action = _enum(fields.get("action", 0), _ACTIONS, "action")
    return SourceRule(action=action, selector=_selector(fields.get("selector")), updates=_update(fields.get("updates")))


def _selector(value: object) -> SourceSelector | None:
    if value is None:
        return None
    fields = _fields(value, "a selector", ("identifier", "match_type", "constraints"))
    return SourceSelector(
        identifier=_text(fields.get("identifier", ""), "identifier"),
        match_type=_enum(fields.get("match_type", 0), _MATCHES, "match_type"),
        constraints=tuple(_constraint(each) for each in _list(fields.get("constraints"), "constraints")),
    )


def _update(value: object) -> SourceUpdate | None:
    if value is None:
        return None
    fields = _fields(value, "updates", ("identifier", "attrs"))
    attrs = fields.get("attrs") or {}
    if not (isinstance(attrs, dict) and all(isinstance(text, str) for text in attrs.values())):
        raise _wrong("attrs", attrs)
    return SourceUpdate(identifier=_text(fields.get("identifier", ""), "identifier"), attrs=attrs)


def _constraint(value: object) -> Constraint:
    fields = _fields(value, "a constraint", ("key", "value", "condition"))
    return Constraint(
        key=_text(fields.get("key", ""), "key"),
        value=_text(fields.get("value", ""), "value"),
        condition=_enum(fields.get("condition", 0), _CONDITIONS, "condition"),
    )


def _fields(value: object, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    """An object's fields by their names in lower case. A name that would be ignored is refused: it is a rule lost."""
    if not isinstance(value, dict):
        raise _wrong(what, value)
    fields = {str(name).lower(): field for name, field in value.items()}
    for name in fields.keys() - set(known):
        raise InputError(f"{what} has an unknown field {name!r}", source=SOURCE_POLICY, fix=suggest(name, known))
    return fields


def _list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(what, value)
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _wrong(what, value)
    return value


def _number(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise _wrong(what, value)
    return value


def _enum(value: object, names: tuple[str, ...], what: str) -> int:
    if value in names:
        return names.index(str(value))
    if isinstance(value, str):
        raise InputError(f"unknown {what} {value!r}", source=SOURCE_POLICY, fix=suggest(value, names))
    number = _number(value, what)
    if number >= len(names):
        raise _wrong(what, value)
    return number


def _wrong(what: str, value: object) -> InputError:
    return InputError(f"{what} cannot be {json.dumps(value)[:60]}", source=SOURCE_POLICY, fix=_FIX)
