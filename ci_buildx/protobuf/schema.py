"""Messages as tables: which attribute of a value is which field of a protobuf message.

A schema is made once from a constructor and its fields::

    VERSION = Schema(Version, one(1, "package", TEXT), one(2, "version", TEXT))

It encodes any object that has these attributes and decodes bytes into ``Version(package=…, version=…)``. As proto3
has it, a field that is missing reads as its zero, zeros are not written, unknown fields are skipped, and of several
values for one field the last counts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar, assert_never

from ci_buildx.model.record import dataclass
from ci_buildx.protobuf import wire

T = TypeVar("T")


class Scalar(Enum):
    """How a value that is no message is written."""

    TEXT = "string"
    BYTES = "bytes"
    INTEGER = "int64"
    BOOLEAN = "bool"
    TIME = "google.protobuf.Timestamp"


class _Shape(Enum):
    ONE = 1
    MANY = 2
    MAP = 3


MOST_ELEMENTS = 1 << 19
"""Elements of all lists and maps in a message: a cache with 100,000 records, each with its parents."""

TEXT, BYTES, INTEGER, BOOLEAN, TIME = Scalar
Type: TypeAlias = "Scalar | Schema[Any]"

_ZEROS = {TEXT: "", BYTES: b"", INTEGER: 0, BOOLEAN: False, TIME: None}
_VARINTS = (INTEGER, BOOLEAN)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: made by :func:`one`, :func:`many` or :func:`mapping`."""

    number: int
    name: str
    type: Type
    shape: _Shape


def one(number: int, name: str, type: Type) -> Field:  # noqa: A002
    """A single value; a message or time that is missing reads as None."""
    return Field(number, name, type, _Shape.ONE)


def many(number: int, name: str, type: Type) -> Field:  # noqa: A002
    """A repeated field: a tuple. Packed and unpacked integers are both read, packed ones are written."""
    return Field(number, name, type, _Shape.MANY)


def mapping(number: int, name: str, type: Type = TEXT) -> Field:  # noqa: A002
    """A map from strings to ``type``: a dict, written in the order of its keys."""
    return Field(number, name, type, _Shape.MAP)


class Schema(Generic[T]):
    """A message: ``build`` is called with one keyword for each field."""

    __slots__ = ("_build", "_fields", "_numbers")

    def __init__(self, build: Callable[..., T], *fields: Field) -> None:
        self._build = build
        self._fields = fields
        self._numbers = {field.number: field for field in fields}

    def encode(self, message: object) -> bytes:
        """The bytes of anything that has the fields' attributes."""
        return b"".join(_encode_field(field, getattr(message, field.name)) for field in self._fields)

    def decode(self, data: wire.Buffer, room: list[int] | None = None) -> T:
        """The value in ``data``. Raises ValueError if that is malformed, or has more than MOST_ELEMENTS elements.

        ``room`` holds how many more there may be, of the message that this one is a part of.
        """
        values: dict[str, Any] = {field.name: _empty(field) for field in self._fields}
        room = [MOST_ELEMENTS] if room is None else room
        for number, wiretype, raw in wire.fields(data):
            field = self._numbers.get(number)
            if field is not None:
                _put(values, field, wiretype, raw, room)
        return self._build(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _empty(field: Field) -> Any:
    if field.shape is _Shape.MANY:
        return []
    if field.shape is _Shape.MAP:
        return {}
    return _ZEROS[field.type] if isinstance(field.type, Scalar) else None


def _put(values: dict[str, Any], field: Field, wiretype: int, raw: int | bytes, room: list[int]) -> None:
    match field.shape:
        case _Shape.ONE:
            values[field.name] = _decode(field, wiretype, raw, room)
        case _Shape.MAP:
            _count(room, 1)
            name, value = _decode_entry(field, wiretype, raw, room)
            values[field.name][name] = value
        case _Shape.MANY:
            if field.type in _VARINTS and isinstance(raw, bytes):
                _count(room, len(raw))
                values[field.name].extend(_unpack(field, raw))
            else:
                _count(room, 1)
                values[field.name].append(_decode(field, wiretype, raw, room))
        case _:
            assert_never(field.shape)


def _count(room: list[int], more: int) -> None:
    """Two bytes can be an element that takes a hundred."""
    room[0] -= more
    if room[0] < 0:
        raise ValueError(f"malformed protobuf: more than {MOST_ELEMENTS} elements of lists")


def _decode(field: Field, wiretype: int, raw: int | bytes, room: list[int]) -> Any:
    if isinstance(raw, int):
        return _decode_integer(field, raw)
    if field.type in _VARINTS or wiretype != wire.LENGTH_DELIMITED:
        raise ValueError(f"malformed protobuf: {field.name} has wire type {wiretype}")
    if isinstance(field.type, Schema):
        return field.type.decode(raw, room)
    if field.type is TEXT:
        # BuildKit puts text of programs into string fields: what is no UTF-8 is shown marked rather than refused.
        return raw.decode(errors="replace")
    return _decode_time(raw) if field.type is TIME else raw


def _decode_integer(field: Field, raw: int) -> int | bool:
    if field.type is BOOLEAN:
        return raw != 0
    if field.type is INTEGER:
        return wire.signed(raw)
    raise ValueError(f"malformed protobuf: {field.name} has wire type {wire.VARINT}")


def _unpack(field: Field, raw: bytes) -> list[int | bool]:
    unpacked, position = [], 0
    while position < len(raw):
        value, position = wire.read_varint(raw, position)
        unpacked.append(_decode_integer(field, value))
    return unpacked


def _decode_entry(field: Field, wiretype: int, raw: int | bytes, room: list[int]) -> tuple[str, Any]:
    if isinstance(raw, int) or wiretype != wire.LENGTH_DELIMITED:
        raise ValueError(f"malformed protobuf: {field.name} has wire type {wiretype}")
    name, value = "", _empty(Field(2, field.name, field.type, _Shape.ONE))
    for number, inner, content in wire.fields(raw):
        if number == 1:
            name = _decode(Field(1, field.name, TEXT, _Shape.ONE), inner, content, room)
        elif number == 2:
            value = _decode(field, inner, content, room)
    return name, value


def _decode_time(raw: bytes) -> float:
    """Seconds since the epoch; a float keeps a microsecond until the year 2255."""
    parts = {number: wire.signed(value) for number, _, value in wire.fields(raw) if isinstance(value, int)}
    return (parts.get(1, 0) * 1_000_000_000 + parts.get(2, 0)) / 1_000_000_000


def _encode_field(field: Field, value: Any) -> bytes:
    match field.shape:
        case _Shape.ONE:
            return b"" if _is_zero(field, value) else _encode(field, value)
        case _Shape.MAP:
            return b"".join(_encode_entry(field, name, value[name]) for name in sorted(value))
        case _Shape.MANY:
            if field.type in _VARINTS:
                packed = b"".join(map(wire.varint, value))
                return wire.length_delimited(field.number, packed) if packed else b""
            return b"".join(_encode(field, item) for item in value)
        case _:
            assert_never(field.shape)


def _is_zero(field: Field, value: Any) -> bool:
    return value is None or (isinstance(field.type, Scalar) and field.type is not TIME and not value)


def _encode(field: Field, value: Any) -> bytes:
    if isinstance(field.type, Schema):
        return wire.length_delimited(field.number, field.type.encode(value))
    if field.type in _VARINTS:
        return wire.key(field.number, wire.VARINT) + wire.varint(value)
    if field.type is TIME:
        return wire.length_delimited(field.number, _encode_time(value))
    return wire.length_delimited(field.number, value.encode() if field.type is TEXT else value)


def _encode_entry(field: Field, name: str, value: Any) -> bytes:
    entry = wire.length_delimited(1, name.encode()) + _encode(Field(2, field.name, field.type, _Shape.ONE), value)
    return wire.length_delimited(field.number, entry)


def _encode_time(seconds: float) -> bytes:
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    parts = ((1, whole), (2, micros * 1000))
    return b"".join(wire.key(number, wire.VARINT) + wire.varint(value) for number, value in parts if value)
