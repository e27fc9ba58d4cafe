"""Texts of values as Go's package ``fmt`` prints them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

from ci_buildx.gotemplate.kinds import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    OCTETS,
    TEXT,
    TIME,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    StructKind,
    make_zero,
    unwrap,
)
from ci_buildx.gotemplate.syntax import TemplateFault
from ci_buildx.model.lazy import compile_lazily

_DIRECTIVE = compile_lazily(r"(?s)%(?P<flags>[-+# 0]*)(?P<width>\d{0,4})(?:\.(?P<precision>\d{0,4}))?(?P<verb>.?)")
_PRECISION = 6
_SMALL, _LARGE = -4, 6
"""Limits of the powers of ten that ``%v`` writes without an exponent (Go, ``strconv/ftoa.go``)."""


def format_value(value: GoValue, *, inside: bool = False) -> str:
    """Format a value as an action prints it: a pointer as its target, except ``inside`` of another value.

    Raises TemplateFault for a pointer inside, of which Go prints the address.
    """
    value = unwrap(value)
    kind, data = value.kind, value.data
    if kind == TIME and data is not None:
        return _format_time(data)
    match kind:
        case PointerKind():
            return _format_pointer(kind, data, inside)
        case ListKind():
            return f"[{' '.join(format_value(GoValue(kind.element, one), inside=True) for one in data or ())}]"
        case MapKind():
            members = sorted((data or {}).items(), key=lambda item: item[0].encode())
            shown = (f"{key}:{format_value(GoValue(kind.element, one), inside=True)}" for key, one in members)
            return f"map[{' '.join(shown)}]"
        case StructKind():
            return f"{{{' '.join(_list_fields(kind, data))}}}"
    if kind == OCTETS:
        return f"[{' '.join(map(str, base64.b64decode(data or '')))}]"
    return _format_scalar(data)


def format_argument(value: GoValue) -> str:
    """Format a value as ``%v`` does, which marks a pointer to a struct, a map or a list."""
    value = unwrap(value)
    is_marked = isinstance(value.kind, PointerKind) and value.data is not None and value.kind.target != TIME
    return f"{'&' if is_marked else ''}{format_value(value)}"


def _format_pointer(kind: PointerKind, data: Any, inside: bool) -> str:
    if data is None:
        return "<nil>"
    if inside and kind.target != TIME:
        raise TemplateFault("Go prints the address of a pointer", fix="select one of its fields, or use json")
    return format_value(GoValue(kind.target, data), inside=inside)


def _list_fields(kind: StructKind, data: dict[str, Any]) -> list[str]:
    return [
        format_value(GoValue(one.kind, data.get(one.name, make_zero(one.kind))), inside=True)
        for one in kind.fields
        if not one.method
    ]


def _format_scalar(data: Any) -> str:
    match data:
        case None:
            return "<nil>"
        case bool():
            return "true" if data else "false"
        case float():
            return format_float(data)
        case _:
            return str(data)


def format_float(number: float) -> str:
    """Format a number of kind float64 with as few digits as identify it."""
    if number == 0:
        return "-0" if math.copysign(1.0, number) < 0 else "0"
    from decimal import Decimal

    shortest = Decimal(repr(number)).normalize()
    power = shortest.adjusted()
    if _SMALL <= power < _LARGE:
        return format(shortest, "f")
    sign, digits, _ = shortest.as_tuple()
    first, *rest = map(str, digits)
    return f"{'-' if sign else ''}{first}{'.' if rest else ''}{''.join(rest)}e{power:+03d}"


def _format_time(text: str) -> str:
    """Format a time as ``time.Time`` does: ``2026-01-02 03:04:05.6 +0000 UTC``."""
    date, _, rest = text.partition("T")
    at = max(rest.find("Z"), rest.find("+"), rest.find("-"))
    zone = rest[at:].replace(":", "")
    return f"{date} {rest[:at]} {'+0000 UTC' if zone == 'Z' else f'{zone} {zone}'}"


def join_values(values: Sequence[GoValue], *, spaced: bool) -> str:
    """Join texts as ``print`` does, with spaces between values that are not texts; if ``spaced``, between all."""
    parts: list[str] = []
    before_text = True
    for value in map(unwrap, values):
        is_text = value.kind == TEXT
        if parts and (spaced or not (is_text or before_text)):
            parts.append(" ")
        parts.append(format_argument(value))
        before_text = is_text
    return "".join(parts)


def format_directives(form: str, values: Sequence[GoValue]) -> str:
    """Format as ``printf`` does. Raises TemplateFault for a directive that does not fit its value, or is unknown."""
    rest = [unwrap(value) for value in values]
    pieces: list[str] = []
    place = 0
    while (begin := form.find("%", place)) >= 0:
        found = _DIRECTIVE.match(form, begin)
        assert found is not None
        pieces.append(form[place:begin])
        place = found.end()
        verb = found["verb"]
        if verb == "%":
            pieces.append("%")
            continue
        if not rest:
            raise TemplateFault(f"printf: {found[0]} has no value")
        text = _apply_verb(verb, rest.pop(0), found)
        pieces.append(_fill_width(text, found))
    if rest:
        raise TemplateFault(f"printf: {len(rest)} values more than directives")
    return "".join([*pieces, form[place:]])


def _fill_width(text: str, found: Any) -> str:
    width = int(found["width"] or 0)
    if "-" in found["flags"]:
        return text.ljust(width)
    if "0" in found["flags"]:
        return text.zfill(width)
    return text.rjust(width)


def _apply_verb(verb: str, value: GoValue, found: Any) -> str:
    flags, precision = found["flags"], found["precision"]
    if "#" in flags or " " in flags or ("+" in flags and verb == "v"):
        raise TemplateFault(f"printf: {found[0]} is not supported", fix="remove its flags")
    writer = _VERBS.get(verb)
    if writer is None:
        known = ", ".join(f"%{one}" for one in _VERBS)
        raise TemplateFault(f"printf: {found[0]} is not supported", fix=f"known: {known}")
    text = writer(value, None if precision is None else int(precision or 0))
    if text is None:
        raise TemplateFault(f"printf: {found[0]} does not fit a value of kind {value.kind.name}")
    is_number = value.kind in (INTEGER, FLOAT)
    return f"+{text}" if "+" in flags and is_number and not text.startswith("-") else text


def _write_text(value: GoValue, precision: int | None) -> str | None:
    text = format_argument(value)
    if value.kind in (INTEGER, FLOAT, BOOLEAN) or value.data is None:
        return None
    return text if precision is None else text[:precision]


def _write_any(value: GoValue, precision: int | None) -> str | None:
    if precision is not None and value.kind == FLOAT:
        return f"{value.data:.{precision or 1}g}"
    return format_argument(value)


_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def _write_quoted(value: GoValue, precision: int | None) -> str | None:
    if value.kind != TEXT:
        return None
    text = value.data if precision is None else value.data[:precision]
    return f'"{"".join(map(_quote_character, text))}"'


def _quote_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _write_hexadecimal(value: GoValue, precision: int | None) -> str | None:
    if value.kind == TEXT:
        return str(value.data.encode().hex())
    return _write_integer("x")(value, precision)


def _write_integer(letter: str) -> Callable[[GoValue, int | None], str | None]:
    def write_integer(value: GoValue, precision: int | None) -> str | None:
        if value.kind != INTEGER or precision is not None:
            return None
        return format(value.data, letter)

    return write_integer


def _write_float(letter: str) -> Callable[[GoValue, int | None], str | None]:
    def write_float(value: GoValue, precision: int | None) -> str | None:
        return (
            f"{value.data:.{_PRECISION if precision is None else precision}{letter}}" if value.kind == FLOAT else None
        )

    return write_float


def _write_boolean(value: GoValue, _precision: int | None) -> str | None:
    return format_value(value) if value.kind == BOOLEAN else None


def _write_character(value: GoValue, _precision: int | None) -> str | None:
    if value.kind != INTEGER:
        return None
    is_character = 0 <= value.data <= 0x10FFFF and not 0xD800 <= value.data < 0xE000
    return chr(value.data) if is_character else "\ufffd"


_VERBS: dict[str, Callable[[GoValue, int | None], str | None]] = {
    "v": _write_any,
    "s": _write_text,
    "q": _write_quoted,
    "d": _write_integer("d"),
    "x": _write_hexadecimal,
    "o": _write_integer("o"),
    "b": _write_integer("b"),
    "c": _write_character,
    "t": _write_boolean,
    "f": _write_float("f"),
    "e": _write_float("e"),
}
