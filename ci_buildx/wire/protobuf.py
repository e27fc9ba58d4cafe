"""The protobuf wire format: keys, varints and length-delimited fields (protobuf.dev, "Encoding").

Reading is bounded and validating: any input results in fields or a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar, assert_never

Buffer = bytes | bytearray | memoryview

VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5

_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10
_64_BITS = (1 << 64) - 1
_SHORT = [bytes((n,)) for n in range(0x80)]


def encode_varint(n: int) -> bytes:
    """Encode an integer of up to 64 bits.

    Negative ones are in two's complement, as int64 and enum fields require.
    """
    if 0 <= n < 0x80:
        return _SHORT[n]
    if 0 <= n < 0x4000:
        return bytes((n & 0x7F | 0x80, n >> 7))
    n &= _64_BITS
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode_key(field: int, wiretype: int) -> bytes:
    """Encode the key before a field's value: field number and wire type."""
    return encode_varint(field << 3 | wiretype)


def encode_length_delimited(field: int, data: Buffer) -> bytes:
    """Encode a string, bytes or message field, with its key and length."""
    return b"".join((encode_varint(field << 3 | LENGTH_DELIMITED), encode_varint(len(data)), data))


def read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """Return the unsigned value at ``position`` and the position after it.

    Raises ValueError if the varint is truncated or longer than 10 bytes.
    """
    value = shift = 0
    for index in range(position, min(len(buffer), position + _LONGEST_VARINT)):
        byte = buffer[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _64_BITS, index + 1
        shift += 7
    raise ValueError("malformed protobuf: varint cut off or longer than 10 bytes")


def read_fields(buffer: Buffer) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield each field as (number, wire type, value): an int for varints, else the raw bytes.

    Raises ValueError on malformed input; groups, which proto3 does not have, count as malformed.
    """
    position, end = 0, len(buffer)
    while position < end:
        tag = buffer[position]
        if tag < 0x80:  # most keys and sizes are one byte
            position += 1
        else:
            tag, position = read_varint(buffer, position)
        number, wiretype = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"malformed protobuf: field number {number}")
        if wiretype == VARINT:
            value, position = read_varint(buffer, position)
            yield number, wiretype, value
            continue
        if wiretype == LENGTH_DELIMITED and position < end and buffer[position] < 0x80:
            size = buffer[position]
            position += 1
        else:
            size, position = _measure_field(buffer, position, wiretype)
        if size > end - position:
            raise ValueError(f"malformed protobuf: field {number} is cut off")
        yield number, wiretype, bytes(buffer[position : position + size])
        position += size


def read_signed(value: int) -> int:
    """Reinterpret a varint's value as int64."""
    return value - (1 << 64) if value >> 63 else value


def _measure_field(buffer: Buffer, position: int, wiretype: int) -> tuple[int, int]:
    if wiretype == LENGTH_DELIMITED:
        return read_varint(buffer, position)
    if wiretype not in _FIXED_SIZES:
        raise ValueError(f"malformed protobuf: wire type {wiretype}")
    return _FIXED_SIZES[wiretype], position


T = TypeVar("T")


class ScalarType(Enum):
    """The encoding of a value that is not a message."""

    TEXT = "string"
    BYTES = "bytes"
    INTEGER = "int64"
    BOOLEAN = "bool"
    TIME = "google.protobuf.Timestamp"


class _FieldShape(Enum):
    ONE = 1
    MANY = 2
    MAP = 3


MOST_ELEMENTS = 1 << 19
"""Maximum number of elements of all lists and maps in a message: a cache with 100,000 records, each with its
parents."""

TEXT, BYTES, INTEGER, BOOLEAN, TIME = ScalarType
Type: TypeAlias = "ScalarType | MessageSchema[Any]"

_ZEROS = {TEXT: "", BYTES: b"", INTEGER: 0, BOOLEAN: False, TIME: None}
_VARINTS = (INTEGER, BOOLEAN)


class MessageField:
    """One field, made by :func:`make_field`, :func:`make_repeated_field` or :func:`make_map_field`."""

    __slots__ = ("name", "number", "shape", "type")

    def __init__(self, number: int, name: str, type: Type, shape: _FieldShape) -> None:  # noqa: A002
        self.number = number
        self.name = name
        self.type = type
        self.shape = shape


def make_field(number: int, name: str, type: Type) -> MessageField:  # noqa: A002
    """Make a single-valued field; a missing message or time reads as None."""
    return MessageField(number, name, type, _FieldShape.ONE)


def make_repeated_field(number: int, name: str, type: Type) -> MessageField:  # noqa: A002
    """Make a repeated field, read as a tuple.

    Packed and unpacked integers are both read; packed ones are written.
    """
    return MessageField(number, name, type, _FieldShape.MANY)


def make_map_field(number: int, name: str, type: Type = TEXT) -> MessageField:  # noqa: A002
    """Make a map field from strings to ``type``, read as a dict and written in key order."""
    return MessageField(number, name, type, _FieldShape.MAP)


class MessageSchema(Generic[T]):
    """The schema of a message: ``build`` is called with one keyword argument per field."""

    __slots__ = ("_build", "_fields", "_lists", "_numbers")

    def __init__(self, build: Callable[..., T], *fields: MessageField) -> None:
        self._build = build
        self._fields = fields
        self._numbers = {field.number: field for field in fields}
        self._lists = tuple(field.name for field in fields if field.shape is _FieldShape.MANY)

    def encode(self, message: object) -> bytes:
        """Encode any object that has the fields as attributes."""
        return b"".join(_encode_field(field, getattr(message, field.name)) for field in self._fields)

    def decode(self, data: Buffer, room: list[int] | None = None) -> T:
        """Decode ``data``. Raises ValueError if it is malformed or has more than MOST_ELEMENTS elements.

        ``room`` holds the number of elements that are still allowed in the enclosing message; None for a top-level
        message.
        """
        values: dict[str, Any] = {field.name: _make_empty(field) for field in self._fields}
        room = [MOST_ELEMENTS] if room is None else room
        for number, wiretype, raw in read_fields(data):
            field = self._numbers.get(number)
            if field is not None:
                _put_value(values, field, wiretype, raw, room)
        for name in self._lists:
            values[name] = tuple(values[name])
        return self._build(**values)


def _make_empty(field: MessageField) -> Any:
    if field.shape is _FieldShape.MANY:
        return []
    if field.shape is _FieldShape.MAP:
        return {}
    return _ZEROS[field.type] if isinstance(field.type, ScalarType) else None


def _put_value(values: dict[str, Any], field: MessageField, wiretype: int, raw: int | bytes, room: list[int]) -> None:
    match field.shape:
        case _FieldShape.ONE:
            values[field.name] = _decode(field, wiretype, raw, room)
        case _FieldShape.MAP:
            _count(room, 1)
            name, value = _decode_entry(field, wiretype, raw, room)
            values[field.name][name] = value
        case _FieldShape.MANY:
            if field.type in _VARINTS and isinstance(raw, bytes):
                _count(room, len(raw))
                values[field.name].extend(_unpack(field, raw))
            else:
                _count(room, 1)
                values[field.name].append(_decode(field, wiretype, raw, room))
        case _:
            assert_never(field.shape)


def _count(room: list[int], more: int) -> None:
    """Count elements against the limit: two bytes of input can be an element that takes a hundred."""
    room[0] -= more
    if room[0] < 0:
        raise ValueError(f"malformed protobuf: more than {MOST_ELEMENTS} elements of lists")


def _decode(field: MessageField, wiretype: int, raw: int | bytes, room: list[int]) -> Any:
    if isinstance(raw, int):
        return _decode_integer(field, raw)
    if field.type in _VARINTS or wiretype != LENGTH_DELIMITED:
        raise ValueError(f"malformed protobuf: {field.name} has wire type {wiretype}")
    if isinstance(field.type, MessageSchema):
        return field.type.decode(raw, room)
    if field.type is TEXT:
        # BuildKit puts output of programs into string fields, so invalid UTF-8 is replaced rather than rejected.
        return raw.decode(errors="replace")
    return _decode_time(raw) if field.type is TIME else raw


def _decode_integer(field: MessageField, raw: int) -> int | bool:
    if field.type is BOOLEAN:
        return raw != 0
    if field.type is INTEGER:
        return read_signed(raw)
    raise ValueError(f"malformed protobuf: {field.name} has wire type {VARINT}")


def _unpack(field: MessageField, raw: bytes) -> list[int | bool]:
    unpacked, position = [], 0
    while position < len(raw):
        value, position = read_varint(raw, position)
        unpacked.append(_decode_integer(field, value))
    return unpacked


def _decode_entry(field: MessageField, wiretype: int, raw: int | bytes, room: list[int]) -> tuple[str, Any]:
    if isinstance(raw, int) or wiretype != LENGTH_DELIMITED:
        raise ValueError(f"malformed protobuf: {field.name} has wire type {wiretype}")
    name, value = "", _make_empty(MessageField(2, field.name, field.type, _FieldShape.ONE))
    for number, inner, content in read_fields(raw):
        if number == 1:
            name = _decode(MessageField(1, field.name, TEXT, _FieldShape.ONE), inner, content, room)
        elif number == 2:
            value = _decode(field, inner, content, room)
    return name, value


FIRST_TIME, LAST_TIME = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999 in seconds since the epoch: what a Timestamp may hold (protobuf, ``timestamp.proto``)."""


def _decode_time(raw: bytes) -> float:
    """Decode a time as seconds since the epoch; a float keeps microseconds until the year 2255.

    A time beyond what a Timestamp may hold is moved to the nearest that it may.
    """
    parts = {number: read_signed(value) for number, _, value in read_fields(raw) if isinstance(value, int)}
    seconds = (parts.get(1, 0) * 1_000_000_000 + parts.get(2, 0)) / 1_000_000_000
    return max(float(FIRST_TIME), min(float(LAST_TIME), seconds))


def _encode_field(field: MessageField, value: Any) -> bytes:
    match field.shape:
        case _FieldShape.ONE:
            return b"" if _is_zero(field, value) else _encode(field, value)
        case _FieldShape.MAP:
            return b"".join(_encode_entry(field, name, value[name]) for name in sorted(value))
        case _FieldShape.MANY:
            if field.type in _VARINTS:
                packed = b"".join(map(encode_varint, value))
                return encode_length_delimited(field.number, packed) if packed else b""
            return b"".join(_encode(field, item) for item in value)
        case _:
            assert_never(field.shape)


def _is_zero(field: MessageField, value: Any) -> bool:
    return value is None or (isinstance(field.type, ScalarType) and field.type is not TIME and not value)


def _encode(field: MessageField, value: Any) -> bytes:
    if isinstance(field.type, MessageSchema):
        return encode_length_delimited(field.number, field.type.encode(value))
    if field.type in _VARINTS:
        return encode_key(field.number, VARINT) + encode_varint(value)
    if field.type is TIME:
        return encode_length_delimited(field.number, _encode_time(value))
    return encode_length_delimited(field.number, value.encode() if field.type is TEXT else value)


def _encode_entry(field: MessageField, name: str, value: Any) -> bytes:
    entry = encode_length_delimited(1, name.encode()) + _encode(
        MessageField(2, field.name, field.type, _FieldShape.ONE), value
    )
    return encode_length_delimited(field.number, entry)


def _encode_time(seconds: float) -> bytes:
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    parts = ((1, whole), (2, micros * 1000))
    return b"".join(encode_key(number, VARINT) + encode_varint(value) for number, value in parts if value)
