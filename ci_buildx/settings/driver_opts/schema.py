"""The JSON schema of driver options, made from their table: the format of ``--builder-config``.

``make bundle`` writes it to ``docs/reference/driver-opts.schema.json``, where editors find it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.driver_opts.checks import EFFECTS, OPERATORS
from ci_buildx.settings.driver_opts.table import ENV, OPTIONS, DriverOption, OptionShape

_GROUPS = {
    "requests": "resource requests of a pod",
    "limits": "resource limits of a pod",
    "qemu": "emulation of other architectures",
    "persistent-volume-claim": "a volume for buildkitd's state",
    "persistent-volume-claim.requests": "requested resources",
}
"""Descriptions of the mappings that hold the options with dots in their names."""
_WHOLE_NUMBERS: dict[OptionShape, dict[str, Any]] = {
    OptionShape.NUMBER: {"type": "integer", "minimum": 0},
    OptionShape.REPLICAS: {"type": ["integer", "string"], "minimum": 1},
}
_DEFINITIONS = {
    "scalar": {"type": ["string", "number", "boolean"]},
    "quantity": {"type": ["string", "number"]},
    "duration": {"type": ["string", "number"]},
    "pairs": {"type": "object", "additionalProperties": {"$ref": "#/$defs/scalar"}},
    "texts": {"type": ["array", "string"], "items": {"type": "string"}},
}


def make_schema() -> dict[str, Any]:
    """Make the schema; every use gets a new one."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kube-builder: driver options",
        **_make_group("Settings of a builder: the format of --builder-config, and all options of --driver-opt."),
        "$defs": _DEFINITIONS,
    }
    for option in OPTIONS.values():
        *outer, name = option.name.removesuffix(".").split(".")
        group, path = schema, ""
        for part in outer:
            path = f"{path}.{part}".lstrip(".")
            group = group["properties"].setdefault(part, _make_group(_GROUPS[path]))
        group["properties"][name] = _describe_option(option)
    return schema


def format_default(option: DriverOption) -> str | int | None:
    """Return an option's default, from the default BuilderSettings; None if it is unset or chosen later."""
    value: Any = BuilderSettings()
    for name in option.field.split(".") if option.field else ():
        value = getattr(value, name)
    match option.shape:
        case OptionShape.SWITCH:
            return option.field != "" and bool(value)
        case OptionShape.DURATION if option.field:
            return None if value is None else f"{value:g}s"
        case OptionShape.TEXT | OptionShape.REPLICAS if option.field and value:
            return str(value) if isinstance(value, StrEnum) else value
    return None


def _make_group(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": False, "properties": {}}


def _describe_option(option: DriverOption) -> dict[str, Any]:
    described = {**_describe_shape(option), "description": option.help}
    default = format_default(option)
    return described if default is None else {**described, "default": default}


def _describe_shape(option: DriverOption) -> dict[str, Any]:
    match option.shape:
        case OptionShape.TEXT if option.name == ENV:
            return {"$ref": "#/$defs/pairs"}
        case OptionShape.TEXT if option.choices:
            return _describe_choices([str(choice) for choice in option.choices])
        case OptionShape.TEXT:
            return {"type": "string"}
        case OptionShape.NUMBER | OptionShape.REPLICAS:
            return {**_WHOLE_NUMBERS[option.shape]}
        case OptionShape.SWITCH:
            return {"type": "boolean"}
        case OptionShape.TOLERATIONS:
            return {"type": "array", "items": _describe_toleration()}
        case OptionShape.MIRRORS:
            return {"type": "object", "additionalProperties": {"$ref": "#/$defs/texts"}}
        case OptionShape.TEMPLATE:
            return {"type": ["object", "string"]}
        case OptionShape.QUANTITY | OptionShape.DURATION | OptionShape.PAIRS:
            return {"$ref": f"#/$defs/{option.shape.name.lower()}"}
        case OptionShape.LIST:
            return {"$ref": "#/$defs/texts"}


def _describe_choices(choices: list[str]) -> dict[str, Any]:
    """Describe a closed set; YAML has true and false as booleans, too."""
    booleans = [value for value in (True, False) if str(value).lower() in choices]
    if booleans:
        return {"type": ["string", "boolean"], "enum": [*choices, *booleans]}
    return {"type": "string", "enum": choices}


def _describe_toleration() -> dict[str, Any]:
    fields = {
        "key": {"type": "string", "description": "the taint's key; without a key, `Exists` matches all taints"},
        "operator": _describe_words(OPERATORS),
        "value": {"$ref": "#/$defs/scalar", "description": "the taint's value"},
        "effect": _describe_words(EFFECTS),
        "tolerationSeconds": {
            "type": "integer",
            "minimum": 0,
            "description": "for how many seconds, with `NoExecute`",
        },
    }
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _describe_words(words: tuple[str, ...]) -> dict[str, Any]:
    """Describe a closed set of words in any case."""
    *most, last = (f"`{word}`" for word in words)
    spelled = ("".join(f"[{letter.upper()}{letter.lower()}]" for letter in word) for word in words)
    description = f"{', '.join(most)} or {last}, in any case"
    return {"type": "string", "description": description, "pattern": f"^({'|'.join(spelled)})$"}
