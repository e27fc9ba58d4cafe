"""Policies of a build: the source policy, and ``--policy`` in Rego, which is not supported.

Syntax and meaning are those of buildx 0.38.2 (``util/buildflags/policy.go``, ``build/build.go``: ``withPolicyConfig``):
the policy next to the Dockerfile applies unless ``disabled`` or ``reset`` drops it; other keys control how policies are
run.

The format is that of buildx 0.38.2 (``build/build.go``: ``ReadSourcePolicy``): JSON of
``moby.buildkit.v1.sourcepolicy.Policy`` (BuildKit v0.34.2, ``sourcepolicy/pb``), names in any case and enums by name or
number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import parse_json
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import require_boolean, split_pairs
from ci_buildx.settings.values import (
    SOURCE_POLICY,
    SourceConstraint,
    SourcePolicy,
    SourceRule,
    SourceSelector,
    SourceUpdate,
)

_FILE, _LEVEL = "filename", "log-level"
_SWITCHES = ("disabled", "reset", "strict")
NOT_ENFORCED = "a Rego policy, which only docker buildx enforces"
_BY_JSON = "write the policy as JSON and name its file in EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"


def check_policies(texts: Iterable[str], *, source: str, beside: Path | None) -> bool:
    """Check the policies and return whether a policy found later, in a remote context, is disabled.

    Raises InputError for a malformed value, for a named policy and for a policy ``beside`` the Dockerfile that is not
    disabled: it may forbid the build.
    """
    configs = [_parse_switches(text, source) for text in texts]
    disabled = [config for config in configs if config.get("disabled")]
    if disabled and (len(configs) > 1 or len(disabled[0]) > 1):
        raise InputError(
            "disabled=true cannot be combined with other keys or policies",
            source=source,
            fix="omit the others, or omit disabled=true",
        )
    dropped = bool(disabled) or any(config.get("reset") for config in configs)
    if beside is None or dropped:
        return dropped
    raise InputError(f"{beside.name} is {NOT_ENFORCED}", source=source, fix=suggest_instead())


def suggest_instead() -> str:
    """Return the fix for a policy that cannot be enforced."""
    return f"{_BY_JSON}, or build without it: --policy disabled=true"


def _parse_switches(text: str, source: str) -> dict[str, bool]:
    try:
        pairs = split_pairs(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write disabled=true or reset=true") from error
    return {key: _read_switch(key, value, source) for key, value in pairs if key != _LEVEL}


def _read_switch(key: str, value: str, source: str) -> bool:
    if key == _FILE:
        raise InputError(f"Rego is not supported; only docker buildx evaluates {value!r}", source=source, fix=_BY_JSON)
    if key not in _SWITCHES:
        raise InputError(f"unknown key {key!r}", source=source, fix=suggest_name(key, (_FILE, *_SWITCHES, _LEVEL)))
    return require_boolean(value, source=f"{source} {key}")


_ACTIONS = ("ALLOW", "DENY", "CONVERT")
_MATCHES = ("WILDCARD", "EXACT", "REGEX")
_CONDITIONS = ("EQUAL", "NOTEQUAL", "MATCHES")
_FIX = 'write {"rules": [{"action": "DENY", "selector": {"identifier": "docker-image://…"}}]}'


def read_source_policy(name: str, *, cwd: Path) -> SourcePolicy:
    """Read a source policy from a file. Raises InputError."""
    try:
        text = (cwd / name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {name!r}: {reason}", source=SOURCE_POLICY) from error
    try:
        policy = parse_json(text)
    except ValueError as error:
        raise InputError(f"{name!r} is not JSON: {error}", source=SOURCE_POLICY, fix=_FIX) from error
    fields = _read_fields(policy, "the policy", ("version", "rules"))
    return SourcePolicy(
        version=_require_number(fields.get("version", 0), "version"),
        rules=tuple(_read_rule(rule) for rule in _require_list(fields.get("rules"), "rules")),
    )


def _read_rule(value: object) -> SourceRule:
    fields = _read_fields(value, "a rule", ("action", "selector", "updates"))
    action = _read_enum(fields.get("action", 0), _ACTIONS, "action")
    return SourceRule(
        action=action, selector=_read_selector(fields.get("selector")), updates=_read_update(fields.get("updates"))
    )


def _read_selector(value: object) -> SourceSelector | None:
    if value is None:
        return None
    fields = _read_fields(value, "a selector", ("identifier", "match_type", "constraints"))
    return SourceSelector(
        identifier=_require_text(fields.get("identifier", ""), "identifier"),
        match_type=_read_enum(fields.get("match_type", 0), _MATCHES, "match_type"),
        constraints=tuple(_read_constraint(each) for each in _require_list(fields.get("constraints"), "constraints")),
    )


def _read_update(value: object) -> SourceUpdate | None:
    if value is None:
        return None
    fields = _read_fields(value, "updates", ("identifier", "attrs"))
    attrs = fields.get("attrs") or {}
    if not (isinstance(attrs, dict) and all(isinstance(text, str) for text in attrs.values())):
        raise _make_error("attrs", attrs)
    return SourceUpdate(identifier=_require_text(fields.get("identifier", ""), "identifier"), attrs=attrs)


def _read_constraint(value: object) -> SourceConstraint:
    fields = _read_fields(value, "a constraint", ("key", "value", "condition"))
    return SourceConstraint(
        key=_require_text(fields.get("key", ""), "key"),
        value=_require_text(fields.get("value", ""), "value"),
        condition=_read_enum(fields.get("condition", 0), _CONDITIONS, "condition"),
    )


def _read_fields(value: object, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Return an object's fields by lower-case name; reject unknown names: ignoring one would lose a rule."""
    if not isinstance(value, dict):
        raise _make_error(what, value)
    fields = {str(name).lower(): field for name, field in value.items()}
    for name in fields.keys() - set(known):
        raise InputError(f"{what} has an unknown field {name!r}", source=SOURCE_POLICY, fix=suggest_name(name, known))
    return fields


def _require_list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _make_error(what, value)
    return value


def _require_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _make_error(what, value)
    return value


def _require_number(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise _make_error(what, value)
    return value


def _read_enum(value: object, names: tuple[str, ...], what: str) -> int:
    if value in names:
        return names.index(str(value))
    if isinstance(value, str):
        raise InputError(f"unknown {what} {value!r}", source=SOURCE_POLICY, fix=suggest_name(value, names))
    number = _require_number(value, what)
    if number >= len(names):
        raise _make_error(what, value)
    return number


def _make_error(what: str, value: object) -> InputError:
    return InputError(f"{what} cannot be {json.dumps(value)[:60]}", source=SOURCE_POLICY, fix=_FIX)
