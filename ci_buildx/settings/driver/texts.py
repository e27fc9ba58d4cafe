"""From the text of an option to a value of its shape, what YAML would have said, and back."""

from __future__ import annotations

import re
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.driver.table import Shape
from ci_buildx.settings.nearest import suggest

_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")


def read_text(text: str, shape: Shape, *, source: str) -> Any:
    """The value: a text, number or boolean, a list or a mapping. Raises InputError."""
    match shape:
        case Shape.COUNT:
            return _read_count(text, source)
        case Shape.SWITCH:
            return _read_switch(text, source)
        case Shape.LIST | Shape.FILES:
            return [text] if "\n" in text else [item.strip() for item in text.split(",") if item.strip()]
        case Shape.PAIRS:
            return read_pairs(text, source=source)
        case Shape.TOLERATIONS:
            return [_read_toleration(item, source) for item in text.split(";") if item.strip()]
        case Shape.MIRRORS:
            return {host: _words(mirrors, ";") for host, mirrors in read_pairs(text, source=source).items()}
        case Shape.TEXT | Shape.TEMPLATE:
            return text


def write_text(value: Any) -> str:
    """The text of a value that YAML gave: what :func:`read_text` reads as the same."""
    match value:
        case bool():
            return str(value).lower()
        case [{}, *_]:
            return ";".join(map(_write_pairs, value))
        case list():
            return ",".join(map(str, value))
        case dict() if all(isinstance(item, list) for item in value.values()):
            return _write_pairs({host: ";".join(mirrors) for host, mirrors in value.items()})
        case dict() if any(isinstance(item, dict) for item in value.values()):
            import json

            return json.dumps(value)
        case dict():
            return _write_pairs(value)
    return str(value)


def _write_pairs(pairs: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def read_pairs(text: str, *, source: str) -> dict[str, str]:
    """``key=value`` separated by commas. buildx takes quotes around the whole, too."""
    pairs = {}
    for item in text.strip('"').split(","):
        key, equals, value = item.strip().partition("=")
        if not equals or not key.strip():
            raise InputError(f"{item!r} is not key=value", source=source)
        pairs[key.strip()] = value.strip()
    return pairs


def _read_count(text: str, source: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InputError(f"{text!r} is not a whole number", source=source)
    return int(text)


def _read_switch(text: str, source: str) -> bool:
    value = read_boolean(text)
    if value is None:
        raise InputError(f"{text!r} is neither true nor false", source=source, fix="write true or false")
    return value


def _read_toleration(text: str, source: str) -> dict[str, str | int]:
    toleration: dict[str, str | int] = {}
    for field, value in read_pairs(text, source=source).items():
        if field not in _TOLERATION:
            raise InputError(f"unknown field {field!r}", source=source, fix=suggest(field, _TOLERATION))
        toleration[field] = _read_count(value, source) if field == "tolerationSeconds" else value
    return toleration


def _words(text: str, separator: str) -> list[str]:
    return [word.strip() for word in text.split(separator) if word.strip()]
