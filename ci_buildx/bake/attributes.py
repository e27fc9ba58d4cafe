"""The table of a target's attributes: how each is read, merged, shown, and seen by other targets.

Names, order and rules are those of docker buildx 0.38.2 (``bake/bake.go``, Target).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ci_buildx.bake import entries, entry_values
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.values import (
    BOOL,
    STRING,
    HclType,
    HclValue,
    make_bool,
    make_list,
    make_list_type,
    make_map,
    make_map_type,
    make_null,
    make_string,
)
from ci_buildx.model.record import dataclass

_LIST = make_list_type(STRING)
_MAP = make_map_type(STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAttribute:
    """One attribute.

    ``read`` converts a value, null to None; ``merge`` combines an earlier value with a later one, both not None;
    ``to_value`` is the opposite of ``read``. ``to_json`` prepares a value for ``--print``; ``clean`` removes
    duplicates. ``escaped`` marks text in which ``${`` and ``%{`` are doubled, so that the printed text can be read.
    """

    name: str
    read: Callable[[HclValue], Any]
    to_value: Callable[[Any], HclValue]
    merge: Callable[[Any, Any], Any]
    to_json: Callable[[Any], Any] = lambda value: value
    clean: Callable[[Any], Any] = lambda value: value
    escaped: bool = False


def _replace(_: Any, later: Any) -> Any:
    return later


def _append(earlier: list[Any], later: list[Any]) -> list[Any]:
    return [*earlier, *later]


def _update(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    return {**earlier, **later}


def remove_repeated(texts: Sequence[str]) -> list[str]:
    """Return texts in order, without empty ones and duplicates."""
    return [text for text in dict.fromkeys(texts) if text]


def _read_text(value: HclValue) -> str | None:
    converted = convert(value, STRING)
    return None if converted.is_null else converted.text


def _read_bool(value: HclValue) -> bool | None:
    converted = convert(value, BOOL)
    return None if converted.is_null else bool(converted.raw)


def _read_texts(value: HclValue) -> list[str] | None:
    converted = convert(value, _LIST)
    if converted.is_null:
        return None
    if any(one.is_null for one in converted.items):
        raise ConversionError("null is not allowed here")
    return [one.text for one in converted.items]


def _read_map(value: HclValue) -> dict[str, str] | None:
    """Return a map of texts; those that are null are left out."""
    converted = convert(value, _MAP)
    if converted.is_null:
        return None
    return {name: one.text for name, one in converted.mapping.items() if not one.is_null}


def _read_contexts(value: HclValue) -> dict[str, str] | None:
    """Return named contexts, none of which may be null."""
    converted = convert(value, _MAP)
    if not converted.is_null and any(one.is_null for one in converted.mapping.values()):
        raise ConversionError("null value is not allowed")
    return _read_map(converted)


def _wrap_text(text: str | None) -> HclValue:
    return make_null(STRING) if text is None else make_string(text)


def _wrap_bool(value: bool | None) -> HclValue:
    return make_null(BOOL) if value is None else make_bool(value=value)


def _wrap_texts(texts: list[str] | None) -> HclValue:
    return make_null(_LIST) if texts is None else make_list(map(make_string, texts), STRING)


def _wrap_map(texts: dict[str, str] | None) -> HclValue:
    if texts is None:
        return make_null(_MAP)
    return make_map({name: make_string(text) for name, text in texts.items()}, STRING)


def _wrap_entries(element: HclType) -> Callable[[list[entries.TargetEntry] | None], HclValue]:
    return lambda found: make_list((one.to_value() for one in found or ()), element)


def _show_entries(found: Sequence[entries.TargetEntry]) -> list[dict[str, Any]]:
    return [one.to_json() for one in found]


def _make_text(name: str, *, escaped: bool = False) -> TargetAttribute:
    return TargetAttribute(name=name, read=_read_text, to_value=_wrap_text, merge=_replace, escaped=escaped)


def _make_switch(name: str) -> TargetAttribute:
    return TargetAttribute(name=name, read=_read_bool, to_value=_wrap_bool, merge=_replace)


def _make_texts(name: str, *, add: bool = False, escaped: bool = False, clean: bool = True) -> TargetAttribute:
    return TargetAttribute(
        name=name,
        read=_read_texts,
        to_value=_wrap_texts,
        merge=_append if add else _replace,
        clean=remove_repeated if clean else list,
        escaped=escaped,
    )


def _make_map(name: str, *, escaped: bool = False) -> TargetAttribute:
    return TargetAttribute(
        name=name,
        read=_read_map,
        to_value=_wrap_map,
        merge=_update,
        to_json=lambda found: dict(sorted(found.items())),
        escaped=escaped,
    )


def _make_entries(
    name: str,
    read: Callable[[HclValue], Any],
    clean: Callable[[Any], Any],
    *,
    add: bool = True,
    element: HclType = _MAP,
) -> TargetAttribute:
    def merge(earlier: Any, later: Any) -> Any:
        return clean([*earlier, *later]) if add else later

    return TargetAttribute(
        name=name,
        read=read,
        to_value=_wrap_entries(element),
        merge=merge,
        to_json=_show_entries,
        clean=clean,
    )


def clean_attestations(found: list[entries.AttestationEntry]) -> list[entries.AttestationEntry]:
    """Return the last attestation of each type."""
    return entries.replace_by_name(found, lambda one: one.type)


def clean_secrets(found: list[entries.SecretEntry]) -> list[entries.SecretEntry]:
    """Return the last secret of each id."""
    return entries.replace_by_name(found, lambda one: one.id)


def clean_ssh(found: list[entries.SshEntry]) -> list[entries.SshEntry]:
    """Return the last SSH agent of each id."""
    return entries.replace_by_name(found, lambda one: one.id)


def _merge_limits(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    merged = {**earlier, **later}
    return {name: merged[name] for name in entry_values.LIMITS if name in merged}


ATTRIBUTES = (
    _make_text("description"),
    _make_texts("inherits", add=True, clean=False),
    _make_texts("annotations", add=True, escaped=True),
    _make_entries("attest", entry_values.read_attestations, clean_attestations),
    _make_text("context"),
    TargetAttribute(
        name="contexts",
        read=_read_contexts,
        to_value=_wrap_map,
        merge=_update,
        to_json=lambda found: dict(sorted(found.items())),
        clean=lambda found: {name: text for name, text in found.items() if text},
    ),
    _make_text("dockerfile"),
    _make_text("dockerfile-inline", escaped=True),
    _make_map("args", escaped=True),
    _make_map("labels", escaped=True),
    _make_texts("tags"),
    _make_entries("cache-from", entry_values.read_caches, entries.remove_equal),
    _make_entries("cache-to", entry_values.read_caches, entries.remove_equal, add=False),
    _make_text("target"),
    _make_entries("secret", entry_values.read_secrets, clean_secrets),
    _make_entries("ssh", entry_values.read_ssh, clean_ssh),
    _make_texts("platforms"),
    _make_entries("output", entry_values.read_outputs, entries.remove_equal, add=False),
    _make_switch("pull"),
    _make_switch("no-cache"),
    _make_text("network"),
    _make_texts("no-cache-filter", add=True),
    _make_text("shm-size"),
    _make_texts("ulimits", add=True),
    TargetAttribute(
        name="resources",
        read=entry_values.read_limits,
        to_value=entry_values.make_limits_value,
        merge=_merge_limits,
    ),
    _make_text("call"),
    _make_texts("entitlements", add=True),
    _make_map("extra-hosts", escaped=True),
    _make_entries("policy", entry_values.read_policies, list),
)
BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}
GROUP_ATTRIBUTES = {"description": _make_text("description"), "targets": _make_texts("targets", clean=False)}
"""The attributes of a group."""
