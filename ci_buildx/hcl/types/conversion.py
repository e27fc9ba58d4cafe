"""Conversion of values to other types, and why it is impossible, by the rules of go-cty 1.17.0 (``cty/convert``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.hcl.types.numbers import parse_number
from ci_buildx.hcl.types.unification import ConversionError, is_convertible, unify_types
from ci_buildx.hcl.types.values import (
    BOOL,
    DYNAMIC,
    NUMBER,
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

__all__ = ["ConversionError", "convert", "convert_all", "describe_mismatch", "format_value"]

_NOUNS = {TypeKind.LIST: "list", TypeKind.SET: "set", TypeKind.MAP: "map"}


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


def describe_mismatch(given: HclType, wanted: HclType) -> str:
    """Return what is required instead of a type, as the end of a sentence (``cty/convert/mismatch_msg.go``)."""
    if given.kind is TypeKind.OBJECT and wanted.kind is TypeKind.OBJECT:
        return _describe_objects(given, wanted)
    structural = given.is_one_of(TypeKind.TUPLE, TypeKind.OBJECT)
    if structural and wanted.is_collection:
        return _describe_structure(given, wanted)
    if given.is_collection and wanted.is_collection:
        return _describe_collections(given, wanted)
    if not _is_confusing(given, wanted):
        return f"{wanted} required, but have {given}"
    return f"{wanted.describe_constraint()} required"


def _describe_objects(given: HclType, wanted: HclType) -> str:
    known = dict(given.attributes)
    missing = [f'"{name}"' for name, _ in wanted.attributes if name not in known and name not in wanted.optional]
    if len(missing) == 1:
        return f"attribute {missing[0]} is required"
    if missing:
        return f"attributes {', '.join(missing[:-1])} and {missing[-1]} are required"
    for name, one in wanted.attributes:
        if name in known and not is_convertible(known[name], one, unsafe=True):
            return f'attribute "{name}": {describe_mismatch(known[name], one)}'
    return "incorrect object attributes"


def _describe_structure(given: HclType, wanted: HclType) -> str:
    fits = (given.kind is TypeKind.OBJECT) == (wanted.kind is TypeKind.MAP)
    if fits and wanted.item == DYNAMIC:
        return f"all {_NOUNS[wanted.kind]} elements must have the same type"
    if not fits:
        return f"{wanted.describe_constraint()} required"
    named = [(f'"{name}"', one) for name, one in given.attributes]
    parts = named or [(str(at), one) for at, one in enumerate(given.elements)]
    for name, one in parts:
        if not is_convertible(one, wanted.item, unsafe=True):
            return f"element {name}: {describe_mismatch(one, wanted.item)}"
    return f"all elements must be {wanted.item.describe_constraint()}"


def _describe_collections(given: HclType, wanted: HclType) -> str:
    if (given.kind is TypeKind.MAP) != (wanted.kind is TypeKind.MAP):
        return f"{wanted.describe_constraint()} required"
    return f"incorrect {_NOUNS[wanted.kind]} element type: {describe_mismatch(given.item, wanted.item)}"


def _is_confusing(given: HclType, wanted: HclType) -> bool:
    """Return whether the name of the given type would not help: a string that could be a number, for example."""
    if given.is_primitive != wanted.is_primitive or wanted == STRING:
        return False
    if {given, wanted} == {BOOL, NUMBER}:
        return False
    return not (given.kind is TypeKind.TUPLE and wanted.kind is TypeKind.OBJECT)
