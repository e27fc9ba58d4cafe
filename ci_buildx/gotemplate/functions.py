"""Functions of templates: Go's own (Go 1.26, ``text/template/funcs.go``), and those that docker's tools add."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from ci_buildx.gotemplate.encoding import encode
from ci_buildx.gotemplate.kinds import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    NIL,
    TEXT,
    TIME,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    ScalarKind,
    StructKind,
    make_zero,
    unwrap,
)
from ci_buildx.gotemplate.printing import format_directives, join_values
from ci_buildx.gotemplate.syntax import TemplateFault

Function = Callable[[Sequence[GoValue]], GoValue]
LAZY = ("and", "or")
"""Functions that do not evaluate all their arguments."""


def is_true(value: GoValue) -> bool:
    """Return whether ``if`` takes its first branch: the value is not empty."""
    value = unwrap(value)
    if value.data is None:
        return False
    match value.kind:
        case PointerKind() | StructKind():
            return True
        case kind:
            return kind == TIME or bool(value.data)


def _require_count(name: str, values: Sequence[GoValue], least: int, most: int | None = None) -> None:
    if len(values) < least or (most is not None and len(values) > most):
        wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise TemplateFault(f"{name} requires {wanted} arguments, not {len(values)}")


def _require_text(name: str, value: GoValue) -> str:
    value = unwrap(value)
    if value.kind != TEXT:
        raise TemplateFault(f"{name} requires a text, not a value of kind {value.kind.name}")
    return str(value.data)


def _require_integer(name: str, value: GoValue) -> int:
    value = unwrap(value)
    if value.kind != INTEGER:
        raise TemplateFault(f"{name} requires an integer, not a value of kind {value.kind.name}")
    return int(value.data)


def _negate(values: Sequence[GoValue]) -> GoValue:
    _require_count("not", values, 1, 1)
    return GoValue(BOOLEAN, not is_true(values[0]))


def _measure(values: Sequence[GoValue]) -> GoValue:
    _require_count("len", values, 1, 1)
    value = _follow_pointer(values[0])
    match value.kind:
        case ListKind() | MapKind():
            return GoValue(INTEGER, len(value.data or ()))
    if value.kind == TEXT:
        return GoValue(INTEGER, len(value.data.encode()))
    raise TemplateFault(f"len of a value of kind {value.kind.name}")


def _look_up(values: Sequence[GoValue]) -> GoValue:
    _require_count("index", values, 1)
    value = _follow_pointer(values[0])
    for key in map(unwrap, values[1:]):
        value = _follow_pointer(_look_up_once(value, key))
    return value


def _look_up_once(value: GoValue, key: GoValue) -> GoValue:
    match value.kind:
        case MapKind(element):
            name = _require_text("index of a map", key)
            return GoValue(element, (value.data or {}).get(name, make_zero(element)))
        case ListKind(element):
            place = _require_integer("index of a list", key)
            if not 0 <= place < len(value.data or ()):
                raise TemplateFault(f"index out of range: {place}")
            return GoValue(element, value.data[place])
    if value.kind == TEXT:
        octets, place = value.data.encode(), _require_integer("index of a text", key)
        if not 0 <= place < len(octets):
            raise TemplateFault(f"index out of range: {place}")
        return GoValue(INTEGER, octets[place])
    raise TemplateFault("index of nil" if value.data is None else f"index of a value of kind {value.kind.name}")


def _follow_pointer(value: GoValue) -> GoValue:
    """Follow a pointer that is not nil."""
    value = unwrap(value)
    while isinstance(value.kind, PointerKind) and value.data is not None:
        value = unwrap(GoValue(value.kind.target, value.data))
    return value


def _slice(values: Sequence[GoValue]) -> GoValue:
    _require_count("slice", values, 1, 3)
    value = _follow_pointer(values[0])
    bounds = [_require_integer("slice", one) for one in values[1:]]
    if value.kind != TEXT and not isinstance(value.kind, ListKind):
        raise TemplateFault(f"slice of a value of kind {value.kind.name}")
    whole: Any = value.data.encode() if value.kind == TEXT else value.data or []
    start, end = [*bounds, *(0, len(whole))[len(bounds) :]]
    if not 0 <= start <= end <= len(whole):
        raise TemplateFault(f"slice bounds out of range: {start}:{end} of {len(whole)}")
    part = whole[start:end]
    return GoValue(value.kind, part.decode("utf-8", "replace") if value.kind == TEXT else part)


def _print(values: Sequence[GoValue]) -> GoValue:
    return GoValue(TEXT, join_values(values, spaced=False))


def _print_line(values: Sequence[GoValue]) -> GoValue:
    return GoValue(TEXT, f"{join_values(values, spaced=True)}\n")


def _print_formatted(values: Sequence[GoValue]) -> GoValue:
    _require_count("printf", values, 1)
    return GoValue(TEXT, format_directives(_require_text("printf", values[0]), values[1:]))


def _escape_html(values: Sequence[GoValue]) -> GoValue:
    text = html.escape(_join_arguments(values)).replace("\0", "\ufffd")
    return GoValue(TEXT, text.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"))


def _escape_query(values: Sequence[GoValue]) -> GoValue:
    return GoValue(TEXT, quote_plus(_join_arguments(values)))


def _join_arguments(values: Sequence[GoValue]) -> str:
    return join_values(values, spaced=False)


_BASIC = (BOOLEAN, INTEGER, FLOAT, TEXT)


def _compare_all(values: Sequence[GoValue]) -> GoValue:
    _require_count("eq", values, 2)
    first, *others = map(unwrap, values)
    found = [_compare_equal("eq", first, one) for one in others]  # A later one may be of another kind.
    return GoValue(BOOLEAN, any(found))


def _compare_different(values: Sequence[GoValue]) -> GoValue:
    _require_count("ne", values, 2, 2)
    return GoValue(BOOLEAN, not _compare_equal("ne", *map(unwrap, values)))


def _compare_equal(name: str, first: GoValue, second: GoValue) -> bool:
    is_alike = type(first.kind) is type(second.kind) and not isinstance(first.kind, ScalarKind)
    if NIL in (first, second) or (is_alike and None in (first.data, second.data)):
        return first.data is second.data
    if is_alike and isinstance(first.kind, PointerKind):
        return first.data is second.data
    for one in (first, second):
        if one.kind not in _BASIC:
            raise TemplateFault(f"{name} cannot compare a value of kind {one.kind.name}")
    if first.kind != second.kind:
        raise TemplateFault(f"{name} cannot compare {first.kind.name} with {second.kind.name}")
    return bool(first.data == second.data)


def _make_order(name: str, judge: Callable[[Any, Any], bool]) -> Function:
    def compare_order(values: Sequence[GoValue]) -> GoValue:
        _require_count(name, values, 2, 2)
        first, second = map(unwrap, values)
        if first.kind != second.kind or first.kind not in (INTEGER, FLOAT, TEXT):
            raise TemplateFault(f"{name} cannot compare {first.kind.name} with {second.kind.name}")
        return GoValue(BOOLEAN, judge(first.data, second.data))

    return compare_order


def _refuse_direct_call(_values: Sequence[GoValue]) -> GoValue:
    raise AssertionError("and, or are evaluated by the template")


BUILTINS: Mapping[str, Function] = {
    "and": _refuse_direct_call,
    "or": _refuse_direct_call,
    "not": _negate,
    "len": _measure,
    "index": _look_up,
    "slice": _slice,
    "print": _print,
    "println": _print_line,
    "printf": _print_formatted,
    "html": _escape_html,
    "urlquery": _escape_query,
    "eq": _compare_all,
    "ne": _compare_different,
    "lt": _make_order("lt", lambda first, second: first < second),
    "le": _make_order("le", lambda first, second: first <= second),
    "gt": _make_order("gt", lambda first, second: first > second),
    "ge": _make_order("ge", lambda first, second: first >= second),
}


def make_json_function(*, indent: str = "", html: bool = True) -> Function:
    """Make the function ``json``."""

    def encode_argument(values: Sequence[GoValue]) -> GoValue:
        _require_count("json", values, 1, 1)
        return GoValue(TEXT, encode(values[0], indent=indent, html=html))

    return encode_argument


def _split(values: Sequence[GoValue]) -> GoValue:
    _require_count("split", values, 2, 2)
    text, separator = (_require_text("split", one) for one in values)
    return GoValue(ListKind(TEXT), text.split(separator) if separator else list(text))


def _join(values: Sequence[GoValue]) -> GoValue:
    _require_count("join", values, 2, 2)
    parts = unwrap(values[0])
    if not isinstance(parts.kind, ListKind):
        raise TemplateFault(f"join requires a list, not a value of kind {parts.kind.name}")
    texts = [_require_text("join", GoValue(parts.kind.element, one)) for one in parts.data or ()]
    return GoValue(TEXT, _require_text("join", values[1]).join(texts))


def _make_text_function(name: str, convert: Callable[[str], str]) -> Function:
    def convert_text(values: Sequence[GoValue]) -> GoValue:
        _require_count(name, values, 1, 1)
        return GoValue(TEXT, convert(_require_text(name, values[0])))

    return convert_text


def _capitalize_words(text: str) -> str:
    """Make the first letter of each word a capital, as Go's ``strings.Title`` does."""
    before = " "
    parts = []
    for one in text:
        is_start = not (before.isalnum() or before in "_'")
        parts.append(one.upper() if is_start and one.isalpha() else one)
        before = one
    return "".join(parts)


def _add_spaces(values: Sequence[GoValue]) -> GoValue:
    _require_count("pad", values, 3, 3)
    text, before, after = (
        _require_text("pad", values[0]),
        _require_integer("pad", values[1]),
        _require_integer("pad", values[2]),
    )
    return GoValue(TEXT, f"{' ' * before}{text}{' ' * after}" if text else "")


def _truncate(values: Sequence[GoValue]) -> GoValue:
    _require_count("truncate", values, 2, 2)
    text, length = _require_text("truncate", values[0]), _require_integer("truncate", values[1])
    return GoValue(TEXT, text[: max(length, 0)])


DOCKER: Mapping[str, Function] = {
    "json": make_json_function(html=False),
    "split": _split,
    "join": _join,
    "title": _make_text_function("title", _capitalize_words),
    "lower": _make_text_function("lower", str.lower),
    "upper": _make_text_function("upper", str.upper),
    "pad": _add_spaces,
    "truncate": _truncate,
}
"""Functions of docker's formatters (docker/cli 29, ``templates/templates.go``)."""
