"""``Stat``: one entry on the wire.

Source: fsutil (as BuildKit 0.34.2 pins it), ``types/stat.proto``, restated in our ``fsutil.proto``. Both ends
of BuildKit use vtprotobuf, which copies strings without looking at them, so a name that is no UTF-8
travels as its bytes.
"""

from __future__ import annotations

from ci_buildx.fsutil.entry import Entry
from ci_buildx.protobuf import wire

_UINT32 = (1 << 32) - 1
_UINT64 = (1 << 64) - 1
_SIGN64 = 1 << 63

# One byte each: the number of the field and its wire type.
_PATH, _MODE, _UID, _GID, _SIZE, _MTIME, _LINKNAME, _MAJOR, _MINOR, _XATTRS = range(1, 11)
_BYTES = 2
_ONE_BYTE = 128
_SMALL = [bytes((n,)) for n in range(_ONE_BYTE)]


def encode(entry: Entry) -> bytes:
    """Return ``entry`` as a serialized ``Stat``, fields in order of their numbers, extended attributes by name."""
    varint = _varint
    path = entry.path
    parts = [b"\x0a", varint(len(path)), path]
    if entry.mode:
        parts += (b"\x10", varint(entry.mode))
    if entry.uid:
        parts += (b"\x18", varint(entry.uid))
    if entry.gid:
        parts += (b"\x20", varint(entry.gid))
    if entry.size:
        parts += (b"\x28", varint(entry.size))
    if entry.mtime:
        parts += (b"\x30", varint(entry.mtime & _UINT64))
    if entry.linkname:
        parts += (b"\x3a", varint(len(entry.linkname)), entry.linkname)
    if entry.major:
        parts += (b"\x40", varint(entry.major))
    if entry.minor:
        parts += (b"\x48", varint(entry.minor))
    if entry.xattrs:
        parts += (_attribute(name, entry.xattrs[name]) for name in sorted(entry.xattrs))
    return b"".join(parts)


def _varint(n: int) -> bytes:
    if n < _ONE_BYTE:
        return _SMALL[n]
    low = bytearray()
    while n >= _ONE_BYTE:
        low.append(n & 0x7F | 0x80)
        n >>= 7
    low.append(n)
    return bytes(low)


def _attribute(name: bytes, value: bytes) -> bytes:
    # A map's entry always carries its key and its value, also where they are empty.
    item = b"".join((b"\x0a", _varint(len(name)), name, b"\x12", _varint(len(value)), value))
    return b"".join((b"\x52", _varint(len(item)), item))


def decode(buffer: bytes) -> Entry:
    """Return the ``Stat`` in ``buffer``; ValueError where it is none. Unknown fields are left out."""
    entry = Entry(b"", 0)
    for number, _, value in wire.fields(buffer):
        if number in _STRINGS:
            setattr(entry, _STRINGS[number], _as_bytes(value))
        elif number in _NUMBERS:
            setattr(entry, _NUMBERS[number], _as_number(value) & _UINT32)
        elif number in _SIGNED:
            setattr(entry, _SIGNED[number], _as_signed(value))
        elif number == _XATTRS:
            name, content = _decode_attribute(_as_bytes(value))
            entry.xattrs = {**(entry.xattrs or {}), name: content}
    return entry


_STRINGS = {_PATH: "path", _LINKNAME: "linkname"}
_NUMBERS = {_MODE: "mode", _UID: "uid", _GID: "gid"}
_SIGNED = {_SIZE: "size", _MTIME: "mtime", _MAJOR: "major", _MINOR: "minor"}


def _decode_attribute(buffer: bytes) -> tuple[bytes, bytes]:
    pair = {1: b"", 2: b""}
    for number, _, value in wire.fields(buffer):
        if number in pair:
            pair[number] = _as_bytes(value)
    return pair[1], pair[2]


def _as_bytes(value: int | bytes | memoryview) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a Stat has text")
    return bytes(value)


def _as_number(value: int | bytes | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("text stands where a Stat has a number")
    return value


def _as_signed(value: int | bytes | memoryview) -> int:
    number = _as_number(value) & _UINT64
    return number - (1 << 64) if number & _SIGN64 else number
