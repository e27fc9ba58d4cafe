"""Types in a document: ``list(string)``, ``object({a = optional(number)})`` (HCL 2.24.0, ``ext/typeexpr``)."""

from __future__ import annotations

from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import Expression, FunctionCall, Literal, ObjectConstructor, TupleConstructor
from ci_buildx.hcl.traversal import get_keyword, read_static
from ci_buildx.hcl.types.values import (
    BOOL,
    DYNAMIC,
    NUMBER,
    STRING,
    HclType,
    make_list_type,
    make_map_type,
    make_object_type,
    make_set_type,
    make_tuple_type,
)

_SUMMARY = "Invalid type specification"
_WORDS = {"bool": BOOL, "string": STRING, "number": NUMBER, "any": DYNAMIC}
_COLLECTIONS = {"list": make_list_type, "set": make_set_type, "map": make_map_type}
_ARGUMENTS = {
    **dict.fromkeys(_COLLECTIONS, "specifying the element type"),
    "object": "specifying the attribute types and values as a map",
    "tuple": "specifying the element types as a list",
}


def parse_type(expression: Expression) -> HclType:
    """Return the type that an expression describes. Raises HclError."""
    static = read_static(expression)
    word = get_keyword(static)
    if word in _WORDS:
        return _WORDS[word]
    if word in _ARGUMENTS:
        raise _refuse(f"The {word} type constructor requires one argument {_ARGUMENTS[word]}.", static)
    if word:
        raise _refuse(f'The keyword "{word}" is not a valid type specification.', static)
    if not isinstance(static, FunctionCall):
        detail = "A type specification is either a primitive type keyword (bool, number, string) or a complex type "
        raise _refuse(detail + "constructor call, like list(string).", static)
    return _parse_constructor(static)


def _refuse(detail: str, expression: Expression) -> HclError:
    return HclError(_SUMMARY, detail, expression.where)


def _parse_constructor(call: FunctionCall) -> HclType:
    name = call.name
    if name in _WORDS:
        raise _refuse(f'The type keyword "{name}" does not expect arguments.', call)
    if name not in _ARGUMENTS:
        raise _refuse(f'The keyword "{name}" is not a valid type constructor.', call)
    if len(call.arguments) != 1:
        reason = f"The {name} type constructor requires one argument {_ARGUMENTS[name]}."
        where = call.where._replace(line=call.name_where.end_line, column=call.name_where.end_column)
        raise HclError("Invalid type specification", reason, where)
    inner = call.arguments[0]
    if name in _COLLECTIONS:
        return _COLLECTIONS[name](parse_type(inner))
    if name == "tuple":
        if not isinstance(inner, TupleConstructor):
            raise _refuse("Tuple type constructor requires a list of element types.", inner)
        return make_tuple_type(map(parse_type, inner.items))
    if not isinstance(inner, ObjectConstructor):
        raise _refuse("Object type constructor requires a map of attribute names and their types.", inner)
    return _parse_object(inner)


def _parse_object(constructor: ObjectConstructor) -> HclType:
    types: dict[str, HclType] = {}
    optional: list[str] = []
    for key, value in constructor.items:
        name = key.value.raw if isinstance(key, Literal) else None
        if not isinstance(name, str):
            raise _refuse("Object constructor map keys must be attribute names.", key)
        if name in types:
            raise _refuse("Object constructor map keys must be unique.", key)
        if isinstance(value, FunctionCall) and value.name == "optional":
            if len(value.arguments) != 1:
                reason = "Optional attribute modifier expects only one argument: the attribute type."
                where = value.where._replace(line=value.name_where.end_line, column=value.name_where.end_column)
                raise HclError("Invalid type specification", reason, where)
            optional.append(name)
            value = value.arguments[0]
        types[name] = parse_type(value)
    return make_object_type(types, optional)
