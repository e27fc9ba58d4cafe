"""JSON as Go's ``encoding/json`` writes it: order of fields, ``omitempty``, escapes, numbers, indentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ci_buildx.gotemplate.kinds import (
    ANY,
    FLOAT,
    OCTETS,
    GoKind,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    ScalarKind,
    StructField,
    StructKind,
    list_json_fields,
    make_zero,
    unwrap,
)
from ci_buildx.model.lazy import compile_lazily

_ESCAPED = compile_lazily(r'[\x00-\x1f"\\\u2028\u2029]')
_ESCAPED_HTML = compile_lazily(r'[\x00-\x1f"\\\u2028\u2029<>&]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_LARGE, _SMALL = 1e21, 1e-6
"""Limits of the numbers that are written without an exponent (Go, ``encoding/json/encode.go``)."""


def encode(value: GoValue, *, indent: str = "", html: bool = True) -> str:
    """Encode a value: on one line, or each member on a line of its own, indented by ``indent``.

    With ``html``, ``<``, ``>`` and ``&`` in texts are escaped, as Go does by default.
    """
    return "".join(_Encoder(indent, html=html).encode_value(value, "\n" if indent else ""))


def encode_number(number: float) -> str:
    """Encode a number of Go's kind float64."""
    if number and not _SMALL <= abs(number) < _LARGE:
        mantissa, _, exponent = repr(float(number)).partition("e")
        return f"{mantissa}e{int(exponent):+}"
    if number == math.trunc(number):
        return str(int(number)) if number or math.copysign(1.0, number) > 0 else "-0"
    from decimal import Decimal

    return format(Decimal(repr(float(number))), "f")


class _Encoder:
    def __init__(self, indent: str, *, html: bool) -> None:
        self._indent = indent
        self._pattern = _ESCAPED_HTML if html else _ESCAPED

    def encode_value(self, value: GoValue, line: str) -> Iterator[str]:
        """Yield the pieces of a value; ``line`` is the line break before its closing bracket, "" for none."""
        value = unwrap(value)
        kind, data = value.kind, value.data
        if data is None:
            yield "null"
            return
        match kind:
            case PointerKind():
                yield from self.encode_value(GoValue(kind.target, data), line)
            case StructKind():
                yield from self._encode_members(_list_members(kind, data), line)
            case MapKind():
                members = ((key, GoValue(kind.element, data[key])) for key in sorted(data, key=str.encode))
                yield from self._encode_members(members, line)
            case ListKind():
                pieces = (self.encode_value(GoValue(kind.element, one), self._deepen(line)) for one in data)
                yield from self._enclose("[]", pieces, line)
            case ScalarKind():
                yield self._encode_scalar(kind, data)

    def _encode_members(self, members: Iterator[tuple[str, GoValue]], line: str) -> Iterator[str]:
        colon = ": " if self._indent else ":"

        def encode_member(key: str, value: GoValue) -> Iterator[str]:
            yield f"{self._quote(key)}{colon}"
            yield from self.encode_value(value, self._deepen(line))

        yield from self._enclose("{}", (encode_member(key, value) for key, value in members), line)

    def _enclose(self, brackets: str, pieces: Iterator[Iterator[str]], line: str) -> Iterator[str]:
        yield brackets[0]
        empty = True
        for one in pieces:
            yield f"{'' if empty else ','}{self._deepen(line)}"
            yield from one
            empty = False
        yield f"{'' if empty else line}{brackets[1]}"

    def _deepen(self, line: str) -> str:
        return line and line + self._indent

    def _encode_scalar(self, kind: ScalarKind, data: Any) -> str:
        if isinstance(data, bool):
            return "true" if data else "false"
        if isinstance(data, str):
            return f'"{data}"' if kind == OCTETS else self._quote(data)
        return encode_number(data) if kind == FLOAT else str(data)

    def _quote(self, text: str) -> str:
        return f'"{self._pattern.sub(lambda found: _escape(found[0]), text)}"'


def _escape(character: str) -> str:
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def _list_members(kind: StructKind, data: Mapping[str, Any]) -> Iterator[tuple[str, GoValue]]:
    for path, one in list_json_fields(kind):
        place: Mapping[str, Any] = data
        for name in path:
            place = place.get(name) or {}
        found = place.get(one.name)
        if found is None:
            found = make_zero(one.kind)
        if not (one.omit and _is_empty(one, found)):
            yield one.key, GoValue(one.kind, found)


def _is_empty(one: StructField, data: Any) -> bool:
    """Return whether ``omitempty`` omits the value: structs and pointers that are not nil are never empty."""
    if data is None:
        return True
    if isinstance(one.kind, PointerKind | StructKind) or one.kind == ANY:
        return False
    return is_time(one.kind) is False and not data


def is_time(kind: GoKind) -> bool:
    """Return whether the kind is a time, which is a struct in Go."""
    return isinstance(kind, ScalarKind) and kind.name == "time.Time"
