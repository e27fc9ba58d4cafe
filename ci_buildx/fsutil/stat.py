"""``Stat``: one entry on the wire.

Source: fsutil (as BuildKit 0.34.2 pins it), ``types/stat.proto``, restated in our ``fsutil.proto``. Both ends
of BuildKit use vtprotobuf, which copies strings without looking at them, so a name that is no UTF-8
travels as its bytes.
"""

from __future__ import annotations

from ci_buildx.fsutil.entry import Entry
from ci_buildx.protobuf import wire
from ci_buildx.protobuf.wire import varint

MOST_ATTRIBUTES = 4096
"""Extended attributes of one entry; Linux lists them in 64 KiB (xattr(7))."""

_UINT32 = (1 << 32) - 1
_PATH, _MODE, _UID, _GID, _SIZE, _MTIME, _LINKNAME, _MAJOR, _MINOR, _XATTRS = range(1, 11)


def encode(entry: Entry) -> bytes:
    """Return ``entry`` as a serialized ``Stat``, fields in order of their numbers, extended attributes by name."""
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
        parts += (b"\x30", varint(entry.mtime))
    if entry.linkname:
        parts += (b"\x3a", varint(len(entry.linkname)), entry.linkname)
    if entry.major:
        parts += (b"\x40", varint(entry.major))
    if entry.minor:
        parts += (b"\x48", varint(entry.minor))
    if entry.xattrs:
        parts += (_attribute(name, entry.xattrs[name]) for name in sorted(entry.xattrs))
    return b"".join(parts)


def _attribute(name: bytes, value: bytes) -> bytes:
    # A map's entry always carries its key and its value, also where they are empty.
    item = b"".join((b"\x0a", varint(len(name)), name, b"\x12", varint(len(value)), value))
    return b"".join((b"\x52", varint(len(item)), item))


def decode(buffer: bytes) -> Entry:
    """Return the ``Stat`` in ``buffer``; ValueError where it is none. Unknown fields are left out."""
    entry = Entry(b"", 0)
    for number, wiretype, value in wire.fields(buffer):
        name = _NAMES.get(number)
        if name is None:
            continue
        if wiretype != (wire.LENGTH_DELIMITED if number in _TEXTS else wire.VARINT):
            raise ValueError(f"field {number} of a Stat has wire type {wiretype}")
        if isinstance(value, int):
            setattr(entry, name, value & _UINT32 if number in _UNSIGNED else wire.signed(value))
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
    pair = {number: part for number, _, part in wire.fields(buffer) if isinstance(part, bytes)}
    return {pair.get(1, b""): pair.get(2, b"")}
