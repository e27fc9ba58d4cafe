"""The protobuf wire format: keys, varints and length-delimited fields (protobuf.dev, "Encoding").

Reading is bounded and validating: whatever the bytes are, the outcome is fields or a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview

VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5

_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10
_64_BITS = (1 << 64) - 1
_SHORT = [bytes((n,)) for n in range(0x80)]


def varint(n: int) -> bytes:
    """An integer of up to 64 bits; negative ones in two's complement, as int64 and enum fields have them."""
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


def key(field: int, wiretype: int) -> bytes:
    """What stands before a field's value."""
    return varint(field << 3 | wiretype)


def length_delimited(field: int, data: Buffer) -> bytes:
    """A string, bytes or message field, with its key and length."""
    return b"".join((varint(field << 3 | LENGTH_DELIMITED), varint(len(data)), data))


def read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """The unsigned value at ``position`` and the position after it. Raises ValueError if it is cut off or too long."""
    value = shift = 0
    for index in range(position, min(len(buffer), position + _LONGEST_VARINT)):
        byte = buffer[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _64_BITS, index + 1
        shift += 7
    raise ValueError("malformed protobuf: varint cut off or longer than 10 bytes")


def fields(buffer: Buffer) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field as (number, wire type, value): an int for varints, the raw bytes otherwise.

    Raises ValueError on malformed input; groups, which proto3 has not, count as malformed.
    """
    position, end = 0, len(buffer)
    while position < end:
        tag, position = read_varint(buffer, position)
        number, wiretype = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"malformed protobuf: field number {number}")
        if wiretype == VARINT:
            value, position = read_varint(buffer, position)
            yield number, wiretype, value
            continue
        size, position = _size(buffer, position, wiretype)
        if size > end - position:
            raise ValueError(f"malformed protobuf: field {number} is cut off")
        yield number, wiretype, bytes(buffer[position : position + size])
        position += size


def signed(value: int) -> int:
    """A varint's value read as int64."""
    return value - (1 << 64) if value >> 63 else value


def _size(buffer: Buffer, position: int, wiretype: int) -> tuple[int, int]:
    if wiretype == LENGTH_DELIMITED:
        return read_varint(buffer, position)
    if wiretype not in _FIXED_SIZES:
        raise ValueError(f"malformed protobuf: wire type {wiretype}")
    return _FIXED_SIZES[wiretype], position
