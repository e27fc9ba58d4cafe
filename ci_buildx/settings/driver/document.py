"""The structured form: YAML of all driver options, checked by their JSON schema, each error with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ci_buildx.errors import InputError
from ci_buildx.settings.driver import schema
from ci_buildx.settings.driver.entry import Entry
from ci_buildx.settings.driver.table import Shape, shape_of
from ci_buildx.settings.driver.yamltext import explain

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML in which plain words and numbers keep their text: ``1.10``, ``no`` and dates are what was typed."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the library has it so


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read_document(text: str, *, origin: str) -> dict[str, Entry]:
    """The options by their names, as ``--driver-opt`` calls them. ``origin`` is the file, or where the text came from.

    Raises InputError with path and line.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(explain(error, origin)) from error
    finally:
        loader.dispose()
    lines = dict(_lines(node)) if node is not None else {}
    rules = schema.load()
    for fault in schema.faults(value, rules, rules):
        raise InputError(fault.message, source=_place(fault.path, lines, origin), fix=fault.fix)
    return dict(_entries(value, lines, origin))


def _lines(node: yaml.Node, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """The line of each value that the schema knows of: three levels down and in lists."""
    yield path, node.start_mark.line + 1
    if len(path) > 3:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                # The name's own line: an empty value has the next one's.
                yield (*path, key.value), key.start_mark.line + 1
                yield from (each for each in _lines(value, (*path, key.value)) if each[0] != (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*path, index))


def _place(path: Path, lines: Mapping[Path, int], origin: str) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    line = next((lines[path[:count]] for count in range(len(path), -1, -1) if path[:count] in lines), 0)
    return " ".join(part for part in (f"{origin}:{line}" if line else origin, name) if part)


def _entries(value: Mapping[str, Any], lines: Mapping[Path, int], origin: str) -> Iterator[tuple[str, Entry]]:
    for path, item in _options(value):
        name = ".".join(map(str, path))
        shape = shape_of(name)
        assert shape is not None, name
        yield name, Entry(value=_shaped(item, shape), source=_place(path, lines, origin))


def _options(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The options: mappings that are no value of one are names with dots."""
    for key, item in value.items():
        inner = (*path, key)
        if shape_of(".".join(inner)) is not None:
            yield inner, item
        else:
            yield from _options(item, inner)


def _shaped(value: Any, shape: Shape) -> Any:
    """The value as :mod:`~ci_buildx.settings.driver.texts` would have read it."""
    match shape:
        case Shape.TEXT:
            return _text(value)
        case Shape.PAIRS:
            return {key: _text(item) for key, item in value.items()}
        case Shape.LIST | Shape.FILES:
            return [value] if isinstance(value, str) else value
        case Shape.MIRRORS:
            return {key: [item] if isinstance(item, str) else item for key, item in value.items()}
        case Shape.COUNT | Shape.SWITCH | Shape.TEMPLATE | Shape.TOLERATIONS:
            return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
