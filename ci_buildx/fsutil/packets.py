"""fsutil's wire format: ``Stat`` messages and packets.

Source: fsutil (as BuildKit 0.34.2 pins it), ``types/stat.proto``, copied to ``fsutil.proto``. Both ends of BuildKit
use vtprotobuf, which copies strings unchecked, so names that are not UTF-8 travel as raw bytes.
"""

from __future__ import annotations

import enum
import struct

from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.model.record import dataclass
from ci_buildx.wire import protobuf
from ci_buildx.wire.protobuf import encode_varint

MOST_ATTRIBUTES = 4096
"""Maximum number of extended attributes of one entry; Linux lists them in 64 KiB (xattr(7))."""

_STAT_UINT32 = (1 << 32) - 1
_PATH, _MODE, _UID, _GID, _SIZE, _MTIME, _LINKNAME, _MAJOR, _MINOR, _XATTRS = range(1, 11)


def encode_stat_fields(entry: TreeEntry) -> bytes:
    """Return ``entry`` as a serialized ``Stat``: fields in order of their numbers, extended attributes by name."""
    path = entry.path
    parts = [b"\x0a", encode_varint(len(path)), path]
    if entry.mode:
        parts += (b"\x10", encode_varint(entry.mode))
    if entry.uid:
        parts += (b"\x18", encode_varint(entry.uid))
    if entry.gid:
        parts += (b"\x20", encode_varint(entry.gid))
    if entry.size:
        parts += (b"\x28", encode_varint(entry.size))
    if entry.mtime:
        parts += (b"\x30", encode_varint(entry.mtime))
    if entry.linkname:
        parts += (b"\x3a", encode_varint(len(entry.linkname)), entry.linkname)
    if entry.major:
        parts += (b"\x40", encode_varint(entry.major))
    if entry.minor:
        parts += (b"\x48", encode_varint(entry.minor))
    if entry.xattrs:
        parts += (_encode_attribute(name, entry.xattrs[name]) for name in sorted(entry.xattrs))
    return b"".join(parts)


def _encode_attribute(name: bytes, value: bytes) -> bytes:
    # A map entry always carries its key and value, even if empty.
    item = b"".join((b"\x0a", encode_varint(len(name)), name, b"\x12", encode_varint(len(value)), value))
    return b"".join((b"\x52", encode_varint(len(item)), item))


def decode_stat(buffer: bytes) -> TreeEntry:
    """Return the ``Stat`` in ``buffer``; raise ValueError if it is malformed. Unknown fields are ignored."""
    entry = TreeEntry(b"", 0)
    for number, wiretype, value in protobuf.read_fields(buffer):
        name = _NAMES.get(number)
        if name is None:
            continue
        if wiretype != (protobuf.LENGTH_DELIMITED if number in _TEXTS else protobuf.VARINT):
            raise ValueError(f"field {number} of a Stat has wire type {wiretype}")
        if isinstance(value, int):
            setattr(entry, name, value & _STAT_UINT32 if number in _UNSIGNED else protobuf.read_signed(value))
        elif number == _XATTRS:
            entry.xattrs = {} if entry.xattrs is None else entry.xattrs
            if len(entry.xattrs) >= MOST_ATTRIBUTES:
                raise ValueError(f"a file has more than {MOST_ATTRIBUTES} extended attributes")
            entry.xattrs |= _decode_attribute(value)
        else:
            setattr(entry, name, value)
    return entry


_NAMES = {
    _PATH: "path",
    _MODE: "mode",
    _UID: "uid",
    _GID: "gid",
    _SIZE: "size",
    _MTIME: "mtime",
    _LINKNAME: "linkname",
    _MAJOR: "major",
    _MINOR: "minor",
    _XATTRS: "xattrs",
}
_TEXTS = (_PATH, _LINKNAME, _XATTRS)
_UNSIGNED = (_MODE, _UID, _GID)


def _decode_attribute(buffer: bytes) -> dict[bytes, bytes]:
    pair = {number: part for number, _, part in protobuf.read_fields(buffer) if isinstance(part, bytes)}
    return {pair.get(1, b""): pair.get(2, b"")}


_PREFIX = struct.Struct(">BI").pack
_UINT32 = (1 << 32) - 1
_TYPE, _STAT, _ID, _DATA = 1, 2, 3, 4
_REQUEST = b"\x08\x01"
_FIRST_OF_REQUEST = _REQUEST + b"\x18"
_LONGEST_REQUEST = 7


class PacketKind(enum.IntEnum):
    """The type of a packet."""

    STAT = 0
    REQUEST = 1
    DATA = 2
    FIN = 3
    ERROR = 4


@dataclass(slots=True)
class Packet:
    """A received packet; ``entry`` is None in the STAT that ends the list and in all other kinds."""

    kind: PacketKind
    id: int = 0
    content: bytes = b""
    entry: TreeEntry | None = None


END_OF_STATS = b""
FIN = b"\x08\x03"


def encode_stat(entry: TreeEntry) -> bytes:
    """Return the STAT packet of ``entry``."""
    body = encode_stat_fields(entry)
    return b"".join((b"\x12", protobuf.encode_varint(len(body)), body))


def encode_request(id: int) -> bytes:  # noqa: A002 - the field's name
    """Return the packet that requests the content of the entry with index ``id``."""
    return _REQUEST + _encode_id(id)


def encode_error(text: str) -> bytes:
    """Return the packet that makes the other side fail with ``text``."""
    content = text.encode(errors="replace")
    return b"".join((b"\x08\x04\x22", protobuf.encode_varint(len(content)), content))


def make_data_header(id: int, size: int) -> bytes:  # noqa: A002 - the field's name
    """Return the fields that precede ``size`` bytes of content in a DATA packet; size 0 ends the file."""
    head = b"\x08\x02" + _encode_id(id)
    return b"".join((head, b"\x22", protobuf.encode_varint(size))) if size else head


def make_grpc_prefix(size: int) -> bytes:
    """Return gRPC's prefix of an uncompressed message of ``size`` bytes."""
    return _PREFIX(0, size)


def frame_packet(packet: bytes) -> bytes:
    """Return ``packet`` as a gRPC message."""
    return _PREFIX(0, len(packet)) + packet


def read_requested_id(packet: bytes) -> int:
    """Return the index in a request as BuildKit encodes it, -1 for any other packet.

    A fast path: a sender receives one request per file and little else, and ``decode_packet`` takes ten times as long.
    """
    size = len(packet)
    if not packet.startswith(_FIRST_OF_REQUEST) or not 3 < size <= _LONGEST_REQUEST or packet[-1] > 0x7F:
        return 0 if packet == _REQUEST else -1
    number, end = protobuf.read_varint(packet, 3)
    return number if end == size else -1


def decode_packet(buffer: bytes) -> Packet:
    """Return the packet in ``buffer``; raise ValueError if it is malformed. Unknown fields are ignored."""
    packet = Packet(PacketKind.STAT)
    for number, wiretype, value in protobuf.read_fields(buffer):
        if _WIRETYPES.get(number, wiretype) != wiretype:
            raise ValueError(f"field {number} of a packet has wire type {wiretype}")
        if number == _TYPE and isinstance(value, int):
            packet.kind = PacketKind(value)
        elif number == _ID and isinstance(value, int):
            packet.id = value & _UINT32
        elif number == _STAT and isinstance(value, bytes):
            packet.entry = decode_stat(value)
        elif number == _DATA and isinstance(value, bytes):
            packet.content = value
    return packet


_WIRETYPES = {
    _TYPE: protobuf.VARINT,
    _STAT: protobuf.LENGTH_DELIMITED,
    _ID: protobuf.VARINT,
    _DATA: protobuf.LENGTH_DELIMITED,
}


def _encode_id(id: int) -> bytes:  # noqa: A002 - the field's name
    return b"\x18" + protobuf.encode_varint(id) if id else b""
