"""Values with Go's static kinds: JSON is decoded into them as ``encoding/json`` does, and templates evaluate them.

A value's data is plain Python: a dict for structs and maps, a list for slices, None for nil. What Go can tell apart
(a nil slice from an empty one, a map's element type, a struct's fields) follows from the kind.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass


class MalformedValue(ValueError):
    """JSON that does not fit a kind."""


@dataclass(frozen=True, slots=True)
class ScalarKind:
    """A kind without parts, by its name in Go."""

    name: str


TEXT = ScalarKind("string")
INTEGER = ScalarKind("int64")
FLOAT = ScalarKind("float64")
BOOLEAN = ScalarKind("bool")
TIME = ScalarKind("time.Time")
"""Data is the text in RFC 3339, as Go writes it."""
OCTETS = ScalarKind("[]uint8")
"""Data is the text in base64."""
ANY = ScalarKind("interface {}")
"""Data of any kind, as JSON has it."""


@dataclass(frozen=True, slots=True)
class ListKind:
    """A slice; data is a list, None if it is nil."""

    element: GoKind

    @property
    def name(self) -> str:
        """The name in Go."""
        return f"[]{self.element.name}"


@dataclass(frozen=True, slots=True)
class MapKind:
    """A map with text keys; data is a dict, None if it is nil."""

    element: GoKind

    @property
    def name(self) -> str:
        """The name in Go."""
        return f"map[string]{self.element.name}"


@dataclass(frozen=True, slots=True)
class PointerKind:
    """A pointer; data is that of the target, None if it is nil."""

    target: GoKind

    @property
    def name(self) -> str:
        """The name in Go."""
        return f"*{self.target.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StructField:
    """A field. ``json`` is its key in JSON, by default its name; ``omit`` means ``omitempty``.

    An ``embedded`` struct's fields are also fields of the struct around it. A ``method`` has no arguments and is
    evaluated on use: its data is a function that returns the data. It is neither printed nor part of the JSON.
    """

    name: str
    kind: GoKind
    json: str = ""
    omit: bool = False
    embedded: bool = False
    method: bool = False

    @property
    def key(self) -> str:
        """The key in JSON."""
        return self.json or self.name


@dataclass(frozen=True, slots=True)
class StructKind:
    """A struct; data is a dict by the fields' names in Go. Missing fields have their zero value."""

    name: str
    fields: tuple[StructField, ...]

    def find(self, name: str) -> tuple[StructField, ...]:
        """Return the path to a field, through embedded structs; empty if it has none."""
        for one in self.fields:
            if one.name == name:
                return (one,)
        for one in self.fields:
            if one.embedded and isinstance(one.kind, StructKind) and (path := one.kind.find(name)):
                return (one, *path)
        return ()

    def list_names(self) -> list[str]:
        """List the names that a template may use."""
        return [one.name for one in self.fields]


GoKind = ScalarKind | ListKind | MapKind | PointerKind | StructKind


def make_struct(
    name: str, kinds: Mapping[str, GoKind], *, omits: bool = False, always: Collection[str] = ()
) -> StructKind:
    """Make a struct whose fields are named as in JSON. If it ``omits`` zero values, those of ``always`` stay."""
    fields = (StructField(name=key, kind=kind, omit=omits and key not in always) for key, kind in kinds.items())
    return StructKind(name, tuple(fields))


@dataclass(frozen=True, slots=True)
class GoValue:
    """Data with its kind."""

    kind: GoKind
    data: Any


NIL = GoValue(ANY, None)


def make_zero(kind: GoKind) -> Any:
    """Return the data of a kind's zero value."""
    match kind:
        case ScalarKind("string"):
            return ""
        case ScalarKind("int64"):
            return 0
        case ScalarKind("float64"):
            return 0.0
        case ScalarKind("bool"):
            return False
        case ScalarKind("time.Time"):
            return "0001-01-01T00:00:00Z"
        case StructKind():
            return {}
        case _:
            return None


def read_field(value: GoValue, path: tuple[StructField, ...]) -> GoValue:
    """Return a field of a struct; methods are called."""
    for one in path:
        data = value.data.get(one.name, make_zero(one.kind))
        value = GoValue(one.kind, data() if one.method else data)
    return value


def unwrap(value: GoValue) -> GoValue:
    """Resolve data of any kind to the kind that it has, as Go's interfaces do; nil stays of any kind."""
    if value.kind != ANY:
        return value
    match value.data:
        case GoValue():
            return unwrap(value.data)
        case bool():
            return GoValue(BOOLEAN, value.data)
        case str():
            return GoValue(TEXT, value.data)
        case int() | float():
            return GoValue(FLOAT, float(value.data))
        case list():
            return GoValue(ListKind(ANY), value.data)
        case dict():
            return GoValue(MapKind(ANY), value.data)
        case _:
            return value


def decode(kind: GoKind, document: Any) -> Any:
    """Return a JSON value as data of a kind; unknown keys of structs are dropped.

    As in Go, ``null`` leaves the zero value, and keys of structs also match in another case. Raises MalformedValue.
    """
    if document is None:
        return make_zero(kind)
    match kind:
        case PointerKind():
            return decode(kind.target, document)
        case StructKind():
            return _decode_struct(kind, _require(document, dict, kind))
        case ListKind():
            return [decode(kind.element, one) for one in _require(document, list, kind)]
        case MapKind():
            return {key: decode(kind.element, one) for key, one in _require(document, dict, kind).items()}
        case _:
            return _decode_scalar(kind, document)


def _decode_struct(kind: StructKind, document: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    known = {one.key: (path, one) for path, one in list_json_fields(kind)}
    folded = {key.lower(): found for key, found in reversed(known.items())}
    for key, value in document.items():
        found = known.get(key) or folded.get(key.lower())
        if found is None or value is None:
            continue
        path, one = found
        place = data
        for name in path:
            place = place.setdefault(name, {})
        place[one.name] = decode(one.kind, value)
    return data


def list_json_fields(kind: StructKind) -> Iterator[tuple[tuple[str, ...], StructField]]:
    """Yield the fields that JSON has, with the names of the embedded structs around each."""
    for one in kind.fields:
        if one.embedded and isinstance(one.kind, StructKind):
            for path, inner in list_json_fields(one.kind):
                yield (one.name, *path), inner
        elif not one.method:
            yield (), one


_PYTHON = {"string": str, "int64": int, "float64": float, "bool": bool}


def _decode_scalar(kind: ScalarKind, document: Any) -> Any:
    if kind == ANY:
        return document
    if kind == TIME:
        return normalize_time(_require(document, str, kind))
    if kind == OCTETS:
        return _check_base64(_require(document, str, kind))
    if kind == FLOAT and isinstance(document, int) and not isinstance(document, bool):
        return float(document)
    return _require(document, _PYTHON[kind.name], kind)


def _require(document: Any, wanted: type, kind: GoKind) -> Any:
    if not isinstance(document, wanted) or (wanted is int and isinstance(document, bool)):
        raise MalformedValue(f"a value is not of kind {kind.name}")
    return document


def _check_base64(text: str) -> str:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except ValueError:
        raise MalformedValue("a value is not base64") from None


_TIME = compile_lazily(
    r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)"
    r"(?:[.,](\d+))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_NANOSECONDS = 9


def normalize_time(text: str) -> str:
    """Return a time in RFC 3339 as Go's ``time.Time`` writes it: without trailing zeros, ``Z`` for no offset.

    Raises MalformedValue.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise MalformedValue("a value is not a time in RFC 3339")
    seconds, fraction, zone = found.groups()
    fraction = (fraction or "")[:_NANOSECONDS].rstrip("0")
    return f"{seconds}{fraction and f'.{fraction}'}{'Z' if zone[1:] == '00:00' else zone}"
