"""Elements and attributes of values, and the names that an expression refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ci_buildx.hcl import parser
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import (
    AttributeStep,
    BinaryOperation,
    Conditional,
    Expression,
    ForExpression,
    FunctionCall,
    IndexStep,
    JsonText,
    Literal,
    ObjectConstructor,
    Parenthesized,
    Splat,
    Template,
    TemplateLoop,
    Traversal,
    TraversalStep,
    TupleConstructor,
    UnaryOperation,
    VariableReference,
)
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.values import MAPPINGS, NUMBER, SEQUENCES, STRING, HclValue, TypeKind

_INVALID = "Invalid index"
_NO_ELEMENT = "The given key does not identify an element in this collection value"


def get_attribute(value: HclValue, name: str, where: SourceRange) -> HclValue:
    """Return an attribute of an object, or an element of a map. Raises HclError."""
    if value.is_null:
        detail = "This value is null, so it does not have any attributes."
        raise HclError("Attempt to get attribute from null value", detail, where)
    if value.type.is_one_of(*MAPPINGS):
        if name in value.mapping:
            return value.mapping[name]
        if value.type.kind is TypeKind.MAP:
            raise HclError("Missing map element", f'This map does not have an element with the key "{name}".', where)
        raise HclError("Unsupported attribute", f'This object does not have an attribute named "{name}".', where)
    raise HclError("Unsupported attribute", "This value does not have any attributes.", where)


def get_element(value: HclValue, key: HclValue, where: SourceRange) -> HclValue:
    """Return an element by index or by name. Raises HclError."""
    if value.is_null:
        detail = "This value is null, so it does not have any indices."
        raise HclError("Attempt to index null value", detail, where)
    if key.is_null:
        raise HclError(_INVALID, "Can't use a null value as an indexing key.", where)
    if value.type.kind is TypeKind.SET:
        raise HclError(_INVALID, "Elements of a set are identified only by their value; they have no index.", where)
    if not value.type.is_one_of(*SEQUENCES, *MAPPINGS):
        raise HclError(_INVALID, "This value does not have any indices.", where)
    try:
        converted = convert(key, NUMBER if value.type.is_one_of(*SEQUENCES) else STRING)
    except ConversionError as error:
        raise HclError(_INVALID, f"{_NO_ELEMENT}: {error}.", where) from None
    if value.type.is_one_of(*MAPPINGS):
        if converted.text not in value.mapping:
            raise HclError(_INVALID, f"{_NO_ELEMENT}.", where)
        return value.mapping[converted.text]
    return _get_item(value, converted, where)


def _get_item(value: HclValue, key: HclValue, where: SourceRange) -> HclValue:
    index = key.number.read_integer()
    if index is None:
        raise HclError(_INVALID, f"{_NO_ELEMENT}: indexing a sequence requires a whole number.", where)
    if index < 0:
        raise HclError(_INVALID, f"{_NO_ELEMENT}: a negative number is not a valid index for a sequence.", where)
    if index >= len(value.items):
        end = "the given index is greater than or equal to the length of the collection"
        reason = end if value.items else "the collection has no elements"
        raise HclError(_INVALID, f"{_NO_ELEMENT}: {reason}.", where)
    return value.items[index]


class Reference(NamedTuple):
    """A variable that an expression uses, with the attributes and constant keys behind its name."""

    name: str
    steps: tuple[str | None, ...]
    where: SourceRange


def find_references(expression: Expression) -> Iterator[Reference]:
    """Yield the variables of an expression that it does not define itself."""
    match expression:
        case VariableReference():
            if not expression.name.startswith("*"):
                yield Reference(expression.name, (), expression.where)
        case Traversal(source=VariableReference() as source) if not source.name.startswith("*"):
            yield Reference(source.name, tuple(map(_name_step, expression.steps)), expression.where)
            yield from _find_in_steps(expression)
        case ForExpression():
            yield from find_references(expression.source)
            own = (expression.key_name, expression.value_name)
            for part in (expression.key, expression.value, expression.condition):
                if part is not None:
                    yield from (one for one in find_references(part) if one.name not in own)
        case _:
            for part in list_parts(expression):
                yield from find_references(part)


def _find_in_steps(expression: Traversal) -> Iterator[Reference]:
    for step in expression.steps:
        if isinstance(step, IndexStep):
            yield from find_references(step.key)


def _name_step(step: TraversalStep) -> str | None:
    """Return the name of an attribute, None for an index."""
    return step.name if isinstance(step, AttributeStep) else None


def find_calls(expression: Expression) -> Iterator[FunctionCall]:
    """Yield all calls in an expression."""
    if isinstance(expression, FunctionCall):
        yield expression
    for part in list_parts(expression):
        yield from find_calls(part)


def list_parts(expression: Expression) -> tuple[Expression, ...]:
    """Return the expressions directly inside another one."""
    find = _PARTS.get(type(expression))
    return tuple(part for part in find(expression) if part is not None) if find is not None else ()


def read_template(expression: JsonText) -> Template | None:
    """Return a JSON string as a template, None if it is not a valid one: evaluating it reports why."""
    try:
        return parse_json_text(expression)
    except HclError:
        return None


def parse_json_text(expression: JsonText) -> Template:
    """Parse a JSON string as a template. Raises HclError."""
    where = expression.where
    return parser.parse_template_text(expression.text, where.file, line=where.line, column=where.column + 1)


def read_static(expression: Expression) -> Expression:
    """Return an expression that is not evaluated: in JSON, keywords and types are strings. Raises HclError."""
    if not isinstance(expression, JsonText):
        return expression
    where = expression.where
    return parser.parse_expression_text(expression.text, where.file, line=where.line, column=where.column + 1)


def get_keyword(expression: Expression) -> str:
    """Return the name that an expression consists of, "" if it is anything else."""
    try:
        static = read_static(expression)
    except HclError:
        return ""
    if isinstance(static, VariableReference):
        return static.name
    if isinstance(static, Literal) and static.value.raw in (True, False, None):
        return {True: "true", False: "false", None: "null"}[static.value.raw]
    return ""


def find_start(expression: Expression) -> SourceRange:
    """Return where an expression starts: its first part, as errors about the whole of it show it."""
    match expression:
        case FunctionCall():
            return expression.name_where._replace(end_column=expression.name_where.end_column + 1)
        case BinaryOperation():
            return find_start(expression.left)
        case Conditional():
            return find_start(expression.condition)
        case UnaryOperation() | TupleConstructor() | ObjectConstructor() | ForExpression():
            where = expression.where
            return where._replace(end_line=where.line, end_column=where.column + 1)
        case Template() if expression.parts and not expression.wrapped:
            return find_start(expression.parts[0])
    return expression.where


_PARTS: Mapping[type, Callable[[Any], Iterable[Expression | None]]] = {
    Traversal: lambda one: (one.source, *(step.key for step in one.steps if isinstance(step, IndexStep))),
    Splat: lambda one: (one.source, one.each),
    FunctionCall: lambda one: one.arguments,
    UnaryOperation: lambda one: (one.operand,),
    BinaryOperation: lambda one: (one.left, one.right),
    Conditional: lambda one: (one.condition, one.yes, one.no),
    TupleConstructor: lambda one: one.items,
    ObjectConstructor: lambda one: (part for item in one.items for part in item),
    ForExpression: lambda one: (one.source, one.key, one.value, one.condition),
    Template: lambda one: one.parts,
    TemplateLoop: lambda one: (one.loop,),
    Parenthesized: lambda one: (one.inner,),
    JsonText: lambda one: (read_template(one),),
}
