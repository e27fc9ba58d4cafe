"""Driver options as YAML: parser, check against the schema, and errors with the line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, compose_yaml
from ci_buildx.model.record import dataclass
from ci_buildx.settings.driver_opts.outside import describe_problem
from ci_buildx.settings.driver_opts.schema import make_schema
from ci_buildx.settings.driver_opts.table import OptionShape, OptionValue, find_option
from ci_buildx.settings.names import suggest_name

Schema = Mapping[str, Any]

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
_NAMES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFault:
    """An error in a document. ``path`` holds the keys and indices that lead to it.

    ``of_value``: the type is right and the value is not.
    """

    path: tuple[str | int, ...]
    message: str
    fix: str = ""
    of_value: bool = False


def find_faults(value: Any, schema: Schema, root: Schema, path: tuple[str | int, ...] = ()) -> Iterator[SchemaFault]:
    """Yield all violations of the schema, in the order of the document."""
    if "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}
    if message := _find_kind_fault(value, schema):
        yield SchemaFault(path=path, message=message)
    elif message := _find_value_fault(value, schema):
        yield SchemaFault(path=path, message=message, of_value=True)
    elif isinstance(value, dict):
        yield from _find_mapping_faults(value, schema, root, path)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from find_faults(item, schema["items"], root, (*path, index))


def _find_mapping_faults(
    value: Mapping[Any, Any], schema: Schema, root: Schema, path: tuple[str | int, ...]
) -> Iterator[SchemaFault]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for key, item in value.items():
        if not isinstance(key, str):
            yield SchemaFault(path=(*path, str(key)), message=f"the name {key!r} is not a string", fix="quote it")
        elif key in known:
            yield from find_faults(item, known[key], root, (*path, key))
        elif others is False:
            yield SchemaFault(path=(*path, key), message=f"unknown option {key!r}", fix=suggest_name(key, known))
        else:
            yield from find_faults(item, others, root, (*path, key))


def _find_kind_fault(value: Any, schema: Schema) -> str:
    wanted = schema.get("type", [])
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not kinds or any(_KINDS[kind](value) for kind in kinds):
        return ""
    what = "nothing" if value is None else repr(value)
    return f"{what} is not {' or '.join(_NAMES[kind] for kind in kinds)}"


def _find_value_fault(value: Any, schema: Schema) -> str:
    if "enum" in schema and not any(value == one and isinstance(value, type(one)) for one in schema["enum"]):
        return f"{value!r} is not one of {', '.join(str(one) for one in schema['enum'] if isinstance(one, str))}"
    if "minimum" in schema and not isinstance(value, str) and value < schema["minimum"]:
        return f"{value} is less than {schema['minimum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{value!r} is not {schema['description']}"
    return ""


Path = tuple[str | int, ...]


class _LineLoader(yaml.SafeLoader):
    """YAML loader that keeps the text of scalars: ``1.10``, ``no`` and dates stay as typed."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the library has it so


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("merge", r"<<", "<"),
):
    _LineLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read_document(text: str, *, origin: str) -> dict[str, OptionValue]:
    """Parse a document into options by their names, as ``--driver-opt`` spells them.

    ``origin`` is the file, or the source of the text. Raises InputError with path and line.
    """
    try:
        value, node = compose_yaml(text, _LineLoader)
    except MalformedDocument as error:
        raise InputError(describe_problem(error, origin)) from error
    value = {} if node is None else value
    lines = dict(_read_lines(node)) if node is not None else {}
    rules = make_schema()
    for fault in find_faults(value, rules, rules):
        # The option's own check refuses its value, with the same text as for --driver-opt.
        if not (fault.of_value and find_option(_join_names(fault.path))):
            raise InputError(fault.message, source=_format_place(fault.path, lines, origin), fix=fault.fix)
    return dict(_read_entries(value, lines, origin))


def _read_lines(node: yaml.Node, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Yield the line of each value that the schema covers: three levels deep and in lists."""
    yield path, node.start_mark.line + 1
    if len(path) > 3:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                # Use the name's own line: an empty value is on the next one.
                yield (*path, key.value), key.start_mark.line + 1
                yield from (each for each in _read_lines(value, (*path, key.value)) if each[0] != (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _read_lines(item, (*path, index))


def _format_place(path: Path, lines: Mapping[Path, int], origin: str) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    line = next((lines[path[:count]] for count in range(len(path), -1, -1) if path[:count] in lines), 0)
    return " ".join(part for part in (f"{origin}:{line}" if line else origin, name) if part)


def _join_names(path: Path) -> str:
    return ".".join(map(str, path))


def _read_entries(
    value: Mapping[str, Any], lines: Mapping[Path, int], origin: str
) -> Iterator[tuple[str, OptionValue]]:
    for path, item in _list_options(value):
        name = _join_names(path)
        option = find_option(name)
        assert option is not None, name
        yield name, OptionValue(value=_shape_value(item, option.shape), source=_format_place(path, lines, origin))


def _list_options(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the options: a mapping that is not itself the value of an option forms names with dots."""
    for key, item in value.items():
        inner = (*path, key)
        if find_option(_join_names(inner)) is not None:
            yield inner, item
        else:
            yield from _list_options(item, inner)


def _shape_value(value: Any, shape: OptionShape) -> Any:
    """Convert a value to the form that :mod:`~ci_buildx.settings.driver_opts.parse` returns."""
    match shape:
        case OptionShape.TEXT | OptionShape.QUANTITY | OptionShape.DURATION:
            return _format_value(value)
        case OptionShape.PAIRS:
            return {key: _format_value(item) for key, item in value.items()}
        case OptionShape.LIST:
            return [value] if isinstance(value, str) else value
        case OptionShape.MIRRORS:
            return {key: [item] if isinstance(item, str) else item for key, item in value.items()}
        case OptionShape.NUMBER | OptionShape.REPLICAS | OptionShape.SWITCH:
            return value
        case OptionShape.TEMPLATE | OptionShape.TOLERATIONS:
            return value


def _format_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
