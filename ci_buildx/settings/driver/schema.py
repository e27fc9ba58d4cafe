"""The part of JSON Schema that the driver options' schema uses, over YAML nodes: what it finds has a line.

The schema is the source: the packages that check documents fully take longer to import than a build takes. A test
holds this one against ``jsonschema``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

from ci_buildx.model.record import dataclass
from ci_buildx.settings.nearest import suggest

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
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a document. ``path`` are the keys and indices that lead there."""

    path: tuple[str | int, ...]
    message: str
    fix: str = ""


def load() -> dict[str, Any]:
    """The schema of driver options, as ``docs/driver-opts.schema.json`` has it."""
    text = resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def faults(value: Any, schema: Schema, root: Schema, path: tuple[str | int, ...] = ()) -> Iterator[Fault]:
    """Everything in which a value differs from its schema, in the order of the document."""
    if "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}
    if (message := _kind_fault(value, schema)) or (message := _value_fault(value, schema)):
        yield Fault(path=path, message=message)
    elif isinstance(value, dict):
        yield from _mapping_faults(value, schema, root, path)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from faults(item, schema["items"], root, (*path, index))


def _mapping_faults(
    value: Mapping[Any, Any], schema: Schema, root: Schema, path: tuple[str | int, ...]
) -> Iterator[Fault]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for key, item in value.items():
        if not isinstance(key, str):
            yield Fault(path=(*path, str(key)), message=f"the name {key!r} is no text", fix="quote it")
        elif key in known:
            yield from faults(item, known[key], root, (*path, key))
        elif others is False:
            yield Fault(path=(*path, key), message=f"unknown option {key!r}", fix=suggest(key, known))
        else:
            yield from faults(item, others, root, (*path, key))


def _kind_fault(value: Any, schema: Schema) -> str:
    wanted = schema.get("type", [])
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not kinds or any(_KINDS[kind](value) for kind in kinds):
        return ""
    what = "nothing" if value is None else repr(value)
    return f"{what} is not {' or '.join(_NAMES[kind] for kind in kinds)}"


def _value_fault(value: Any, schema: Schema) -> str:
    if "enum" in schema and not any(value == one and isinstance(value, type(one)) for one in schema["enum"]):
        return f"{value!r} is none of {', '.join(str(one) for one in schema['enum'] if isinstance(one, str))}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{value} is less than {schema['minimum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{value!r} is not {schema['description']}"
    return ""
