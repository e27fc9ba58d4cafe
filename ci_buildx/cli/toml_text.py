"""TOML in the form in which docker buildx shows configurations: sorted keys, literal strings, no comments.

Source: pelletier/go-toml 2.2, ``marshaler.go``: a table's plain values come first, then its tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import parse_toml
from ci_buildx.model.lazy import compile_lazily

_BARE = compile_lazily(r"[A-Za-z0-9_-]+")
_LITERAL = compile_lazily(r"[^'\x00-\x1f\x7f]*")


def normalize_toml(text: str) -> str:
    """Return the same values in this form; malformed text is returned as it is."""
    try:
        values = parse_toml(text)
    except (InputError, ValueError):
        return text
    return "\n".join([*_format_table((), values), ""]).lstrip("\n")


def _format_table(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table's plain values, then those of its tables, each with its header."""
    inner = {key: value for key, value in sorted(values.items()) if _list_tables(value) is not None}
    for key, value in sorted(values.items()):
        if key not in inner:
            yield f"{_format_key(key)} = {_format_value(value)}"
    first = len(inner) == len(values)
    for key, value in inner.items():
        place = (*path, key)
        name = ".".join(map(_format_key, place))
        for table in _list_tables(value) or ():
            if not first or not path:
                yield ""
            first = False
            yield f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            yield from _format_table(place, table)


def _list_tables(value: object) -> list[Mapping[str, Any]] | None:
    """Return a table, or the tables of an array that has nothing else; None for a plain value."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return value
    return None


def _format_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _format_text(key)


def _format_value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _format_text(value)
        case list():
            return f"[{', '.join(map(_format_value, value))}]"
        case dict():
            pairs = (f"{_format_key(key)} = {_format_value(one)}" for key, one in sorted(value.items()))
            return f"{{{', '.join(pairs)}}}"
        case _:
            return str(value)


def _format_text(text: str) -> str:
    if _LITERAL.fullmatch(text):
        return f"'{text}'"
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
