"""HPACK, the header compression of HTTP/2 (RFC 7541).

Decoding is whole, because the peer chooses what it sends. Encoding uses literals only: what we send is a status
and a content type, once for each call.
"""

from __future__ import annotations

from ci_buildx.session import huffman

Header = tuple[bytes, bytes]

DEFAULT_TABLE_SIZE = 4096
_ENTRY_OVERHEAD = 32
_LARGEST_INTEGER = 1 << 32

_STATIC_TEXT = (
    ":authority|;:method|GET;:method|POST;:path|/;:path|/index.html;:scheme|http;:scheme|https;:status|200;"
    ":status|204;:status|206;:status|304;:status|400;:status|404;:status|500;accept-charset|;"
    "accept-encoding|gzip, deflate;accept-language|;accept-ranges|;accept|;access-control-allow-origin|;age|;allow|;"
    "authorization|;cache-control|;content-disposition|;content-encoding|;content-language|;content-length|;"
    "content-location|;content-range|;content-type|;cookie|;date|;etag|;expect|;expires|;from|;host|;if-match|;"
    "if-modified-since|;if-none-match|;if-range|;if-unmodified-since|;last-modified|;link|;location|;max-forwards|;"
    "proxy-authenticate|;proxy-authorization|;range|;referer|;refresh|;retry-after|;server|;set-cookie|;"
    "strict-transport-security|;transfer-encoding|;user-agent|;vary|;via|;www-authenticate|"
)
STATIC: tuple[Header, ...] = tuple(
    (name, value) for name, _, value in (entry.partition(b"|") for entry in _STATIC_TEXT.encode().split(b";"))
)
"""The static table (appendix A), from index 1."""


class Decoder:
    """The decoding half of one connection.

    ``table_size`` is the SETTINGS_HEADER_TABLE_SIZE that we announced, ``largest`` bounds the decoded size of one
    block, so that a short block cannot become a large one.
    """

    def __init__(self, *, table_size: int = DEFAULT_TABLE_SIZE, largest: int = 1 << 24) -> None:
        self._allowed = self._limit = table_size
        self._largest = largest
        self._dynamic: list[Header] = []
        self._used = 0

    @property
    def dynamic(self) -> tuple[Header, ...]:
        """The dynamic table, newest entry first."""
        return tuple(self._dynamic)

    @property
    def used(self) -> int:
        """The dynamic table's size as the RFC counts it."""
        return self._used

    def decode(self, block: bytes) -> list[Header]:
        """The headers of one block, in order. Raises ValueError if it is malformed or too large."""
        headers: list[Header] = []
        position = size = 0
        while position < len(block):
            first = block[position]
            if first & 0xE0 == 0x20:
                if headers:
                    raise ValueError("malformed HPACK: table size update after a header")
                position = self._resize(block, position)
                continue
            header, position = self._header(block, position)
            headers.append(header)
            size += _size(header)
            if size > self._largest:
                raise ValueError(f"HPACK block larger than {self._largest} bytes")
        return headers

    def _resize(self, block: bytes, position: int) -> int:
        size, position = _read_integer(block, position, 5)
        if size > self._allowed:
            raise ValueError(f"malformed HPACK: table size {size} is over {self._allowed}")
        self._limit = size
        self._evict()
        return position

    def _header(self, block: bytes, position: int) -> tuple[Header, int]:
        first = block[position]
        if first & 0x80:
            index, position = _read_integer(block, position, 7)
            return self._entry(index), position
        incremental = bool(first & 0x40)
        index, position = _read_integer(block, position, 6 if incremental else 4)
        if index:
            name = self._entry(index)[0]
        else:
            name, position = _read_string(block, position)
        value, position = _read_string(block, position)
        if incremental:
            self._add((name, value))
        return (name, value), position

    def _entry(self, index: int) -> Header:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        offset = index - len(STATIC) - 1
        if 0 <= offset < len(self._dynamic):
            return self._dynamic[offset]
        raise ValueError(f"malformed HPACK: no header has index {index}")

    def _add(self, header: Header) -> None:
        self._dynamic.insert(0, header)
        self._used += _size(header)
        self._evict()

    def _evict(self) -> None:
        while self._used > self._limit:
            self._used -= _size(self._dynamic.pop())


def encode(headers: list[Header]) -> bytes:
    """A block of literals that leaves both ends' tables alone (6.2.2), names and values uncompressed."""
    return b"".join(
        b"\x00" + _integer(len(name), 7) + name + _integer(len(value), 7) + value for name, value in headers
    )


def _size(header: Header) -> int:
    return len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD


def _integer(value: int, prefix: int) -> bytes:
    """An integer after ``prefix`` bits of a byte whose other bits are zero (5.1)."""
    largest = (1 << prefix) - 1
    if value < largest:
        return bytes((value,))
    out = bytearray((largest,))
    value -= largest
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    largest = (1 << prefix) - 1
    value = block[position] & largest
    position += 1
    if value < largest:
        return value, position
    shift = 0
    while position < len(block) and value < _LARGEST_INTEGER:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
        if shift > 35:
            break
    raise ValueError("malformed HPACK: integer cut off or too large")


def _read_string(block: bytes, position: int) -> tuple[bytes, int]:
    if position >= len(block):
        raise ValueError("malformed HPACK: string cut off")
    compressed = block[position] & 0x80
    length, position = _read_integer(block, position, 7)
    if length > len(block) - position:
        raise ValueError("malformed HPACK: string cut off")
    text = bytes(block[position : position + length])
    return huffman.decode(text) if compressed else text, position + length
