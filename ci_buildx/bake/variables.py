"""Variables of a definition: defaults, types, values from ``--var`` and the environment, validation.

Rules of docker buildx 0.38.2 (``bake/hclparser/hclparser.go``).
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.bake.entries import split_csv
from ci_buildx.hcl.evaluation import evaluate
from ci_buildx.hcl.scope import Scope
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import Argument, Block, JsonText
from ci_buildx.hcl.traversal import get_keyword
from ci_buildx.hcl.type_syntax import parse_type
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.json_values import decode_json, encode_json
from ci_buildx.hcl.types.numbers import BigFloat
from ci_buildx.hcl.types.values import (
    BOOL,
    DYNAMIC,
    EMPTY_STRING,
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
    make_set,
    make_string,
    make_tuple,
)
from ci_buildx.model.record import dataclass
from ci_buildx.settings.syntax import GO_FALSE, GO_TRUE

JSON_SUFFIX = "_JSON"
"""Ending of a variable of the environment whose value is JSON."""
_CSV_KINDS = (TypeKind.LIST, TypeKind.SET, TypeKind.TUPLE, TypeKind.MAP)
Lookup = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVariable:
    """A variable as ``--list variables`` shows it; ``value`` is None for null."""

    name: str
    description: str = ""
    type: str = ""
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableBlock:
    """A ``variable`` block. ``type`` is None if none is set."""

    name: str
    block: Block
    type: HclType | None
    default: Argument | None
    description: str


def read_variable(block: Block) -> VariableBlock:
    """Read a ``variable`` block without evaluating its default. Raises HclError."""
    body = block.body
    typed = body.find_argument("type")
    wanted = None
    if typed is not None and get_keyword(typed.expression) != "null":
        found = parse_type(typed.expression)
        wanted = found if found != DYNAMIC or get_keyword(typed.expression) == "any" else None
    return VariableBlock(
        name=block.labels[0],
        block=block,
        type=wanted,
        default=body.find_argument("default"),
        description=_read_description(body.find_argument("description")),
    )


def _read_description(argument: Argument | None) -> str:
    if argument is None:
        return ""
    if isinstance(argument.expression, JsonText):
        return argument.expression.text
    value = evaluate(argument.expression, Scope())
    return value.text if value.type == STRING and not value.is_null else ""


def find_override(
    name: str, lookup: Lookup, known: Callable[[str], bool], *, prefer_json: bool
) -> tuple[str, bool] | None:
    """Return a variable's value from outside, and whether it is JSON; None if it has none.

    ``known`` tells whether the definition has a variable of a name: then a value with the suffix belongs to that one.
    """
    plain = lookup(name)
    if plain is None or prefer_json:
        suffixed = name + JSON_SUFFIX
        text = None if known(suffixed) else lookup(suffixed)
        if text is not None:
            return text, True
    return None if plain is None else (plain, False)


def make_value(variable: VariableBlock, default: HclValue | None, override: tuple[str, bool] | None) -> HclValue:
    """Return a variable's value: the override as its type, else the default, else "" or a null of its type.

    Raises ConversionError.
    """
    wanted = variable.type
    if default is not None and wanted is not None:
        try:
            default = convert(default, wanted)
        except ConversionError as error:
            message = f"invalid type {wanted} for variable {variable.name} default value: {error}"
            raise ConversionError(message) from None
    if override is None:
        if default is not None:
            return default
        return EMPTY_STRING if wanted is None else make_null(wanted.strip_optional())
    text, is_json = override
    if wanted is None:
        return _read_untyped(variable.name, text, default)
    if is_json:
        try:
            return decode_json(text, wanted)
        except ConversionError as error:
            raise ConversionError(f"failed to convert variable {variable.name} from JSON: {error}") from None
    if wanted.kind in _CSV_KINDS:
        return _read_csv(variable.name, text, wanted)
    if wanted.is_primitive:
        return _read_primitive(variable.name, text, wanted)
    raise ConversionError(f"unsupported type {wanted} for variable {variable.name}")


def _read_untyped(name: str, text: str, default: HclValue | None) -> HclValue:
    if default is None or default.type == DYNAMIC:
        return make_string(text)
    if default.type.is_primitive:
        return _read_primitive(name, text, default.type)
    raise ConversionError(f"unsupported type {default.type} for variable {name}")


def _read_primitive(name: str, text: str, wanted: HclType) -> HclValue:
    if wanted == STRING:
        return make_string(text)
    if wanted == BOOL:
        if text not in GO_TRUE | GO_FALSE:
            raise ConversionError(f'failed to parse {name} as bool: "{text}" is neither true nor false')
        return make_bool(value=text in GO_TRUE)
    try:
        if "_" in text or text.strip() != text:
            raise ValueError
        return make_number(BigFloat.from_float(float(text)))
    except (ValueError, OverflowError):
        raise ConversionError(f'failed to parse {name} as number: "{text}" is not a number') from None


def _read_csv(name: str, text: str, wanted: HclType) -> HclValue:
    fields = split_csv(text)
    elements = wanted.elements or ((wanted.item,) if wanted.element else ())
    if any(not one.is_primitive for one in elements):
        raise ConversionError(f"unsupported type {wanted} for CSV specification")
    if wanted.kind is TypeKind.MAP:
        return make_map(dict(_read_pair(name, field, wanted.item) for field in fields), wanted.item)
    if wanted.kind is TypeKind.TUPLE:
        if len(fields) != len(elements):
            count = f"{len(elements)} elements but only {len(fields)} provided"
            raise ConversionError(f"{wanted} expects {count}")
        return make_tuple(_read_primitive(name, *one) for one in zip(fields, elements, strict=True))
    items = [_read_primitive(name, field, wanted.item) for field in fields]
    return make_set(items, wanted.item) if wanted.kind is TypeKind.SET else make_list(items, wanted.item)


def _read_pair(name: str, field: str, element: HclType) -> tuple[str, HclValue]:
    key, colon, value = field.partition(":")
    if not colon or ":" in value:
        raise ConversionError(f"expected one k/v pair but got {field.count(':') + 1} pieces from {field}")
    return key, _read_primitive(name, value, element)


def list_variable(variable: VariableBlock, value: HclValue) -> ListedVariable:
    """Return a variable for ``--list variables``."""
    wanted = variable.type
    shown = None
    if not value.is_null:
        if wanted is not None:
            shown = encode_json(value, wanted)
            shown = shown.strip('"') if wanted == STRING else shown
        elif value.type.is_primitive:
            shown = convert(value, STRING).text
        else:
            shown = encode_json(value)
    of_type = "" if wanted is None else wanted.describe_constraint()
    return ListedVariable(name=variable.name, description=variable.description, type=of_type, value=shown)


def check_variable(variable: VariableBlock, scope: Scope) -> None:
    """Check a variable's ``validation`` blocks. Raises HclError."""
    for rule in variable.block.body.find_blocks({"validation": 0}):
        condition, message = _require(rule, "condition"), rule.body.find_argument("error_message")
        where = condition.expression.where
        result = evaluate(condition.expression, scope)
        if result.is_null:
            detail = "Condition expression must return either true or false, not null."
            raise HclError("Invalid condition result", detail, where)
        try:
            is_valid = convert(result, BOOL).raw
        except ConversionError as error:
            raise HclError("Invalid condition result", f"Invalid condition result value: {error}", where) from None
        if not is_valid:
            text = EMPTY_STRING if message is None else evaluate(message.expression, scope)
            usable = not text.is_null and text.type in (STRING, NUMBER, BOOL)
            detail = convert(text, STRING).text if usable else "This check failed, but has an invalid error message."
            raise HclError("Validation failed", detail, where)


def _require(block: Block, name: str) -> Argument:
    argument = block.body.find_argument(name)
    if argument is None:
        detail = f'The argument "{name}" is required, but no definition was found.'
        raise HclError("Missing required argument", detail, block.where)
    return argument
