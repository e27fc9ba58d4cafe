"""Entries of targets from the values of expressions: lists that may mix texts and objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ci_buildx.bake.entries import (
    AttestationEntry,
    Entry,
    OutputEntry,
    PolicyEntry,
    SecretEntry,
    SshEntry,
    TypedEntry,
    make_attestation,
    make_entry,
    make_output,
    parse_attestation,
    parse_caches,
    parse_output,
    parse_policy,
    parse_secret,
    parse_ssh,
)
from ci_buildx.hcl.types.conversion import ConversionError, convert, describe_mismatch
from ci_buildx.hcl.types.numbers import BigFloat
from ci_buildx.hcl.types.values import (
    NUMBER,
    SEQUENCES,
    STRING,
    HclType,
    HclValue,
    make_list_type,
    make_map_type,
    make_null,
    make_number,
    make_object,
    make_object_type,
    make_string,
)
from ci_buildx.settings.syntax import join_fields

_STRINGS = make_map_type(STRING)
_SECRET = make_object_type(dict.fromkeys(("id", "src", "env"), STRING), ("id", "src", "env"))
_SSH = make_object_type({"id": STRING, "paths": make_list_type(STRING)}, ("id", "paths"))
LIMITS = {
    **dict.fromkeys(("memory", "memory-swap"), STRING),
    **dict.fromkeys(("cpu-shares", "cpu-period", "cpu-quota"), NUMBER),
    **dict.fromkeys(("cpuset-cpus", "cpuset-mems"), STRING),
}
"""Resource limits of steps, and their types."""
LIMITS_TYPE = make_object_type(LIMITS, LIMITS)


def read_entries(
    value: HclValue, parse: Callable[[str], Sequence[Entry]], read: Callable[[HclValue], Entry], element: HclType
) -> list[Entry] | None:
    """Return the entries of a list of texts and objects, None for null. Raises ConversionError."""
    if value.is_null:
        return None
    if not value.type.is_one_of(*SEQUENCES):
        raise ConversionError(describe_mismatch(value.type, make_list_type(element)))
    found: list[Entry] = []
    for one in value.items:
        if one.type != STRING:
            found.append(read(one))
        elif not one.is_null and one.text:
            found += parse(one.text)
    return found


def _read_texts(value: HclValue) -> dict[str, str]:
    """Return an object or a map as texts. Raises ConversionError for nulls inside."""
    converted = convert(value, _STRINGS)
    if converted.is_null or any(one.is_null for one in converted.mapping.values()):
        raise ConversionError("null is not allowed here")
    return {name: one.text for name, one in converted.mapping.items()}


def _read_cache(value: HclValue) -> TypedEntry:
    found = _read_texts(value)
    kind = found.pop("type", "")
    if not kind:
        raise ConversionError(f"type required for {found}")
    return make_entry(kind, found)


def _read_output(value: HclValue) -> OutputEntry:
    found = _read_texts(value)
    kind = found.pop("type", "")
    if not kind:
        raise ConversionError("type is required for output")
    return make_output(kind, found)


def _read_attestation(value: HclValue) -> AttestationEntry:
    found = _read_texts(value)
    return make_attestation(found.pop("type", ""), found)


def _read_secret(value: HclValue) -> SecretEntry:
    fields = convert(value, _SECRET).mapping
    return SecretEntry(**{name: one.text for name, one in fields.items() if not one.is_null})


def _read_ssh(value: HclValue) -> SshEntry:
    fields = convert(value, _SSH).mapping
    paths = () if fields["paths"].is_null else tuple(one.text for one in fields["paths"].items)
    return SshEntry(id="" if fields["id"].is_null else fields["id"].text, paths=paths)


def _read_policy(value: HclValue) -> PolicyEntry:
    found = {name: text for name, text in _read_texts(value).items() if text}
    return parse_policy(join_fields(f"{name}={text}" for name, text in found.items()))[0]


def read_caches(value: HclValue) -> list[TypedEntry] | None:
    """Return caches. Raises ConversionError."""
    return read_entries(value, parse_caches, _read_cache, _STRINGS)


def read_outputs(value: HclValue) -> list[OutputEntry] | None:
    """Return outputs. Raises ConversionError."""
    return read_entries(value, parse_output, _read_output, _STRINGS)


def read_attestations(value: HclValue) -> list[AttestationEntry] | None:
    """Return attestations. Raises ConversionError."""
    return read_entries(value, parse_attestation, _read_attestation, _STRINGS)


def read_secrets(value: HclValue) -> list[SecretEntry] | None:
    """Return secrets. Raises ConversionError."""
    return read_entries(value, parse_secret, _read_secret, _SECRET)


def read_ssh(value: HclValue) -> list[SshEntry] | None:
    """Return SSH agents. Raises ConversionError."""
    return read_entries(value, parse_ssh, _read_ssh, _SSH)


def read_policies(value: HclValue) -> list[PolicyEntry] | None:
    """Return policies. Raises ConversionError."""
    return read_entries(value, parse_policy, _read_policy, _STRINGS)


def read_limits(value: HclValue) -> dict[str, str | int] | None:
    """Return resource limits, in the order of the table. Raises ConversionError."""
    if value.is_null:
        return None
    fields = convert(value, LIMITS_TYPE).mapping
    found: dict[str, str | int] = {}
    for name, of_type in LIMITS.items():
        one = fields[name]
        if one.is_null:
            continue
        number = one.number.read_integer() if of_type == NUMBER else None
        if of_type == NUMBER and number is None:
            raise ConversionError(f'attribute "{name}": value must be a whole number')
        found[name] = one.text if number is None else number
    return found


def make_limits_value(limits: dict[str, str | int] | None) -> HclValue:
    """Return resource limits as other targets see them."""
    if limits is None:
        return make_null(LIMITS_TYPE.strip_optional())

    def wrap(name: str) -> HclValue:
        one = limits.get(name)
        if one is None:
            return make_null(LIMITS[name])
        return make_string(one) if isinstance(one, str) else make_number(BigFloat.from_integer(one))

    return make_object({name: wrap(name) for name in LIMITS})
