"""JSON of values, as go-cty and Go's ``encoding/json`` write and read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ci_buildx.hcl.types.conversion import convert
from ci_buildx.hcl.types.numbers import BigFloat, parse_number
from ci_buildx.hcl.types.unification import ConversionError
from ci_buildx.hcl.types.values import (
    DYNAMIC,
    NULL,
    STRING,
    HclType,
    HclValue,
    TypeKind,
    make_bool,
    make_map,
    make_number,
    make_object,
    make_string,
    make_tuple,
)

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_DEEPEST = 200
"""Maximum nesting of a JSON text."""


def quote_json(text: str) -> str:
    """Return a JSON string as Go's ``encoding/json`` writes it: safe inside HTML."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(_ESCAPES.get(one, one) for one in quoted).replace("\x7f", "\x7f")


def dump_json(value: Any, *, indent: int = 0, level: int = 0) -> str:
    """Return Python values as Go's ``json.Marshal`` or, with ``indent`` spaces, ``json.MarshalIndent`` writes them.

    Mappings keep their order. Numbers of HCL are written as they are printed.
    """
    if isinstance(value, str):
        return quote_json(value)
    if isinstance(value, BigFloat):
        return str(value)
    if not isinstance(value, Mapping | list | tuple):
        return json.dumps(value)
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    step = (indent, level + 1)
    if isinstance(value, Mapping):
        colon = ": " if indent else ":"
        parts = [
            quote_json(name) + colon + dump_json(one, indent=step[0], level=step[1]) for name, one in value.items()
        ]
    else:
        parts = [dump_json(one, indent=step[0], level=step[1]) for one in value]
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    if not indent:
        return opening + ",".join(parts) + closing
    inner, outer = "\n" + " " * indent * (level + 1), "\n" + " " * indent * level
    return opening + inner + ("," + inner).join(parts) + outer + closing


def encode_json(value: HclValue, of_type: HclType | None = None) -> str:
    """Return the value as JSON. For an open type, the value's own type is written beside it, as go-cty does."""
    return dump_json(_simplify(value, value.type if of_type is None else of_type))


def _simplify(value: HclValue, of_type: HclType) -> Any:
    if of_type == DYNAMIC and not value.is_null:
        return {"value": _simplify(value, value.type), "type": _describe_type(value.type)}
    if value.is_null or value.type.is_primitive:
        return value.raw
    if value.type.kind is TypeKind.OBJECT:
        types = dict(of_type.attributes)
        return {name: _simplify(one, types.get(name, one.type)) for name, one in value.mapping.items()}
    if value.type.kind is TypeKind.MAP:
        return {name: _simplify(one, of_type.item) for name, one in value.mapping.items()}
    if value.type.kind is TypeKind.TUPLE:
        return [_simplify(one, part) for one, part in zip(value.items, of_type.elements, strict=True)]
    return [_simplify(one, of_type.item) for one in value.items]


def _describe_type(of_type: HclType) -> Any:
    """Return a type in go-cty's JSON form."""
    if of_type.kind is TypeKind.OBJECT:
        return ["object", {name: _describe_type(one) for name, one in of_type.attributes}]
    if of_type.kind is TypeKind.TUPLE:
        return ["tuple", [_describe_type(one) for one in of_type.elements]]
    if of_type.element is not None:
        return [of_type.kind.value, _describe_type(of_type.element)]
    return of_type.kind.value


def decode_json(text: str, wanted: HclType = DYNAMIC) -> HclValue:
    """Parse JSON as a type; an open type follows from the text. Raises ConversionError."""
    value = _read(text)
    return value if wanted == DYNAMIC else _conform(value, wanted)


def _read(text: str) -> HclValue:
    if _measure_depth(text) > _DEEPEST:
        raise ConversionError("the JSON text is nested too deeply")
    try:
        return _lift(json.loads(text, parse_float=parse_number, parse_int=parse_number, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"invalid JSON: {error}") from None


def _measure_depth(text: str) -> int:
    depth = deepest = 0
    for one in text:
        if one in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif one in "]}":
            depth -= 1
    return deepest


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def _lift(value: Any) -> HclValue:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return make_bool(value=value)
    if isinstance(value, str):
        return make_string(value)
    if isinstance(value, BigFloat):
        return make_number(value)
    if isinstance(value, list):
        return make_tuple(_lift(one) for one in value)
    return make_object({make_string(name).text: _lift(one) for name, one in value.items()})


def _conform(value: HclValue, wanted: HclType) -> HclValue:
    """Convert what JSON holds to a type, more strictly than :func:`convert`: a number is not a bool (``cty/json``)."""
    plain = not value.type.is_primitive or value.is_null or value.type == wanted
    if wanted.is_primitive and not plain and STRING not in (value.type, wanted):
        raise ConversionError(f"{wanted} is required")
    if wanted.kind is TypeKind.OBJECT and value.type.kind is TypeKind.OBJECT:
        known = dict(wanted.attributes)
        for name in value.mapping:
            if name not in known:
                raise ConversionError(f'unsupported attribute "{name}"')
    if wanted.kind is TypeKind.MAP and value.type.kind is TypeKind.OBJECT and wanted.item != DYNAMIC:
        return make_map({name: _conform(one, wanted.item) for name, one in value.mapping.items()}, wanted.item)
    return convert(value, wanted)
