"""Conversion of values to other types, by the rules of go-cty 1.17.0 (``cty/convert``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.hcl.types.mismatch import describe_mismatch
from ci_buildx.hcl.types.numbers import parse_number
from ci_buildx.hcl.types.unification import ConversionError, is_convertible, unify_types
from ci_buildx.hcl.types.values import (
    DYNAMIC,
    STRING,
    HclType,
    HclValue,
    TypeKind,
    make_bool,
    make_list,
    make_map,
    make_null,
    make_number,
    make_object,
    make_set,
    make_string,
    make_tuple,
)

__all__ = ["ConversionError", "convert", "convert_all", "format_value"]


def convert(value: HclValue, wanted: HclType) -> HclValue:
    """Return the value as the type ``wanted``, which may have open parts. Raises ConversionError."""
    plain = wanted.strip_optional()
    if value.type == plain or wanted == DYNAMIC:
        return value
    if not is_convertible(value.type, wanted, unsafe=True):
        raise ConversionError(describe_mismatch(value.type, wanted))
    if value.is_null:
        return make_null(plain if value.type == DYNAMIC or not plain.has_dynamic() else value.type)
    if wanted.is_primitive:
        return _convert_primitive(value, wanted)
    if wanted.kind is TypeKind.OBJECT:
        return _convert_object(value, wanted)
    if wanted.kind is TypeKind.TUPLE:
        pairs = zip(value.items, wanted.elements, strict=True)
        return make_tuple(convert(one, of_type) for one, of_type in pairs)
    if wanted.kind is TypeKind.MAP:
        return _convert_map(value.mapping, wanted.item)
    return _convert_sequence(value.items, wanted)


def format_value(value: HclValue) -> str:
    """Return a primitive value as text. Raises ConversionError for null and for other types."""
    converted = convert(value, STRING)
    if converted.is_null:
        raise ConversionError("the value is null")
    return converted.text


def convert_all(values: Iterable[HclValue], element: HclType) -> list[HclValue]:
    """Return the values as one type: ``element``, or the type that all of them can be converted to if it is open."""
    given = list(values)
    converted = [convert(one, element) for one in given]
    if not element.has_dynamic() or not converted:
        return converted
    common = unify_types([one.type for one in converted], unsafe=True)
    if common is None:
        raise ConversionError("all elements must have the same type")
    return [convert(one, common) for one in converted]


def _convert_primitive(value: HclValue, wanted: HclType) -> HclValue:
    match wanted.kind:
        case TypeKind.STRING if value.type.kind is TypeKind.BOOL:
            return make_string("true" if value.raw else "false")
        case TypeKind.STRING:
            return make_string(str(value.number))
        case TypeKind.NUMBER:
            try:
                return make_number(parse_number(value.text))
            except ValueError as error:
                raise ConversionError(str(error)) from None
    if value.text in ("true", "1"):
        return make_bool(value=True)
    if value.text in ("false", "0"):
        return make_bool(value=False)
    lower = value.text.lower()
    if lower in ("true", "false"):
        raise ConversionError(f'a bool is required; to convert from string, use lowercase "{lower}"')
    raise ConversionError("a bool is required")


def _convert_object(value: HclValue, wanted: HclType) -> HclValue:
    found: dict[str, HclValue] = {}
    for name, of_type in wanted.attributes:
        one = value.mapping.get(name)
        if one is None:
            if name not in wanted.optional:
                raise ConversionError(f'map has no element for required attribute "{name}"')
            found[name] = make_null(of_type.strip_optional())
            continue
        try:
            found[name] = convert(one, of_type)
        except ConversionError as error:
            raise ConversionError(f'attribute "{name}": {error}') from None
    return make_object(found)


def _convert_map(items: Mapping[str, HclValue], element: HclType) -> HclValue:
    converted = convert_all(items.values(), element)
    return make_map(dict(zip(items, converted, strict=True)), element.strip_optional())


def _convert_sequence(items: Iterable[HclValue], wanted: HclType) -> HclValue:
    converted = convert_all(items, wanted.item)
    make = make_set if wanted.kind is TypeKind.SET else make_list
    return make(converted, wanted.item.strip_optional())
