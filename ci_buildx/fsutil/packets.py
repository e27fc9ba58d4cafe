"""``Packet``: everything that sender and receiver say to each other.

Source: fsutil (as BuildKit 0.34.2 pins it), ``types/wire.proto`` and the comment of ``receive.go``, restated in
our ``fsutil.proto``. A STAT without stat, which is a message of zero bytes, ends the stats; DATA without
data ends a file.
"""

from __future__ import annotations

import enum
import struct

from ci_buildx.fsutil import stat
from ci_buildx.fsutil.entry import Entry
from ci_buildx.model.record import dataclass
from ci_buildx.protobuf import wire

_PREFIX = struct.Struct(">BI").pack
_UINT32 = (1 << 32) - 1
_TYPE, _STAT, _ID, _DATA = 1, 2, 3, 4
_REQUEST = b"\x08\x01"
_FIRST_OF_REQUEST = _REQUEST + b"\x18"
_LONGEST_REQUEST = 7


class Kind(enum.IntEnum):
    """What a packet is."""

    STAT = 0
    REQUEST = 1
    DATA = 2
    FIN = 3
    ERROR = 4


@dataclass(slots=True)
class Packet:
    """A packet that came in. ``entry`` is None in a STAT that ends the stats, and in all other kinds."""

    kind: Kind
    id: int = 0
    content: bytes = b""
    entry: Entry | None = None


END_OF_STATS = b""
FIN = b"\x08\x03"


def encode_stat(entry: Entry) -> bytes:
    """Return the STAT packet of ``entry``."""
    body = stat.encode(entry)
    return b"".join((b"\x12", wire.varint(len(body)), body))


def encode_request(id: int) -> bytes:  # noqa: A002 - the field's name
    """Return the packet that asks for the content of the entry with this index."""
    return _REQUEST + _id(id)


def encode_error(text: str) -> bytes:
    """Return the packet that makes the other side fail with ``text``."""
    content = text.encode(errors="replace")
    return b"".join((b"\x08\x04\x22", wire.varint(len(content)), content))


def data_header(id: int, size: int) -> bytes:  # noqa: A002 - the field's name
    """Return what stands before ``size`` bytes of content in a DATA packet; 0 ends the file."""
    head = b"\x08\x02" + _id(id)
    return b"".join((head, b"\x22", wire.varint(size))) if size else head


def prefix(size: int) -> bytes:
    """Return what gRPC puts before an uncompressed message of ``size`` bytes."""
    return _PREFIX(0, size)


def framed(packet: bytes) -> bytes:
    """Return ``packet`` as a gRPC message."""
    return _PREFIX(0, len(packet)) + packet


def requested(packet: bytes) -> int:
    """Return the index that a request names as BuildKit writes it, -1 for any other packet.

    Nearly all that a sender hears is this, once for each file; ``decode`` would take ten times as long.
    """
    size = len(packet)
    if not packet.startswith(_FIRST_OF_REQUEST) or not 3 < size <= _LONGEST_REQUEST or packet[-1] > 0x7F:
        return 0 if packet == _REQUEST else -1
    number, end = wire.read_varint(packet, 3)
    return number if end == size else -1


def decode(buffer: bytes) -> Packet:
    """Return the packet in ``buffer``; ValueError where it is none. Unknown fields are left out."""
    packet = Packet(Kind.STAT)
    for number, wiretype, value in wire.fields(buffer):
        if _WIRETYPES.get(number, wiretype) != wiretype:
            raise ValueError(f"field {number} of a packet has wire type {wiretype}")
        if number == _TYPE and isinstance(value, int):
            packet.kind = Kind(value)
        elif number == _ID and isinstance(value, int):
            packet.id = value & _UINT32
        elif number == _STAT and isinstance(value, bytes):
            packet.entry = stat.decode(value)
        elif number == _DATA and isinstance(value, bytes):
            packet.content = value
    return packet


_WIRETYPES = {_TYPE: wire.VARINT, _STAT: wire.LENGTH_DELIMITED, _ID: wire.VARINT, _DATA: wire.LENGTH_DELIMITED}


def _id(id: int) -> bytes:  # noqa: A002 - the field's name
    return b"\x18" + wire.varint(id) if id else b""
