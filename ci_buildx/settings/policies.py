"""``--policy``: policies in Rego to enforce. They are not supported: kube-builder does not evaluate Rego.

Syntax and meaning are those of buildx 0.38.2 (``util/buildflags/policy.go``, ``build/build.go``: ``withPolicyConfig``):
the policy next to the Dockerfile applies unless ``disabled`` or ``reset`` drops it; other keys control how policies are
run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import read_boolean, split_pairs

_FILE, _LEVEL = "filename", "log-level"
_SWITCHES = ("disabled", "reset", "strict")
NOT_ENFORCED = "a policy in Rego, which docker buildx alone enforces"
_BY_JSON = "write the policy as JSON and name its file in EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"


def check_policies(texts: Iterable[str], *, source: str, beside: Path | None) -> bool:
    """Check the policies and return whether a policy found later, in a remote context, is disabled.

    Raises InputError for a malformed value, for a named policy and for a policy ``beside`` the Dockerfile that is not
    disabled: it may forbid the build.
    """
    configs = [_read_policy(text, source) for text in texts]
    disabled = [config for config in configs if config.get("disabled")]
    if disabled and (len(configs) > 1 or len(disabled[0]) > 1):
        raise InputError("disabled=true stands alone", source=source, fix="leave out the rest, or this")
    dropped = bool(disabled) or any(config.get("reset") for config in configs)
    if beside is None or dropped:
        return dropped
    raise InputError(f"{beside.name} is {NOT_ENFORCED}", source=source, fix=suggest_instead())


def suggest_instead() -> str:
    """Return the fix for a policy that cannot be enforced."""
    return f"{_BY_JSON}, or build without it: --policy disabled=true"


def _read_policy(text: str, source: str) -> dict[str, bool]:
    try:
        pairs = split_pairs(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write disabled=true or reset=true") from error
    return {key: _read_switch(key, value, source) for key, value in pairs if key != _LEVEL}


def _read_switch(key: str, value: str, source: str) -> bool:
    if key == _FILE:
        raise InputError(f"docker buildx alone evaluates Rego, as in {value!r}", source=source, fix=_BY_JSON)
    if key not in _SWITCHES:
        raise InputError(f"unknown key {key!r}", source=source, fix=suggest_name(key, (_FILE, *_SWITCHES, _LEVEL)))
    found = read_boolean(value)
    if found is None:
        raise InputError(f"{key} is neither true nor false: {value!r}", source=source)
    return found
