"""HPACK, the header compression of HTTP/2, with its Huffman code (RFC 7541)."""

from __future__ import annotations

from functools import cache

# The length in bits of each byte's code; the 257th symbol, end-of-string, has 30 bits and must not occur.
_LENGTHS = (
    "13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 "
    "6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 "
    "13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 "
    "15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 "
    "20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 "
    "22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 "
    "26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 "
    "20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26"
)
_LONGEST = 30
_LONGEST_PADDING = 7


@cache
def make_codes() -> dict[tuple[int, int], int]:
    """Make the table from (length, code) to the byte it encodes."""
    lengths = [int(length) for length in _LENGTHS.split()]
    table, code, previous = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        code <<= length - previous
        table[length, code] = symbol
        code, previous = code + 1, length
    return table


_START = 1
"""A position in the code's tree is the bits since the last symbol after a leading 1; this is the root."""
_STEPS: dict[int, tuple[int, bytes]] = {}
"""The position after a byte, and the symbols that the byte completes, by position and byte; filled on use.

The tree has 256 inner positions, so these are 65,536 entries at most.
"""


def decode_huffman(data: bytes) -> bytes:
    """Decode Huffman-coded text with one look-up per byte.

    Raises ValueError for an invalid code or bad padding (RFC 7541, 5.2).
    """
    steps, position = _STEPS, _START
    out = bytearray()
    for byte in data:
        key = position << 8 | byte
        step = steps.get(key)
        if step is None:
            step = steps[key] = _walk_tree(position, byte)
        position, symbols = step
        out += symbols
    length = position.bit_length() - 1
    if length > _LONGEST_PADDING or position != (1 << length + 1) - 1:
        raise ValueError("malformed HPACK: bad padding after a Huffman code")
    return bytes(out)


def _walk_tree(position: int, byte: int) -> tuple[int, bytes]:
    """Return the position that the eight bits of ``byte`` lead to, and the symbols on the way."""
    table = make_codes()
    symbols = bytearray()
    for shift in range(7, -1, -1):
        position = position << 1 | byte >> shift & 1
        length = position.bit_length() - 1
        symbol = table.get((length, position - (1 << length)))
        if symbol is not None:
            symbols.append(symbol)
            position = _START
        elif length >= _LONGEST:
            raise ValueError("malformed HPACK: not a Huffman code")
    return position, bytes(symbols)


Header = tuple[bytes, bytes]

DEFAULT_TABLE_SIZE = 4096
_ENTRY_OVERHEAD = 32
_LARGEST_INTEGER = 1 << 32
_MOST_RESIZES = 2
"""Maximum size updates of a block: the smallest size since the last block, and the final one (4.2)."""

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


class HpackDecoder:
    """The decoder of one connection.

    ``table_size`` is the SETTINGS_HEADER_TABLE_SIZE that we announced. ``largest`` bounds the decoded bytes of one
    block, so that a short block cannot expand into a huge one.
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
        """The dynamic table's size as defined by the RFC."""
        return self._used

    def decode(self, block: bytes) -> list[Header]:
        """Return the headers of one block, in order. Raises ValueError if the block is malformed or too large."""
        headers: list[Header] = []
        position = size = resizes = 0
        while position < len(block):
            first = block[position]
            if first & 0xE0 == 0x20:
                resizes += 1
                if headers or resizes > _MOST_RESIZES:
                    raise ValueError("malformed HPACK: table size update after a header, or a third one")
                position = self._resize(block, position)
                continue
            header, position = self._decode_header(block, position)
            headers.append(header)
            size += _measure_header(header)
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

    def _decode_header(self, block: bytes, position: int) -> tuple[Header, int]:
        first = block[position]
        if first & 0x80:
            index, position = _read_integer(block, position, 7)
            return self._find_entry(index), position
        incremental = bool(first & 0x40)
        index, position = _read_integer(block, position, 6 if incremental else 4)
        if index:
            name = self._find_entry(index)[0]
        else:
            name, position = _read_string(block, position)
        value, position = _read_string(block, position)
        if incremental:
            self._add((name, value))
        return (name, value), position

    def _find_entry(self, index: int) -> Header:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        offset = index - len(STATIC) - 1
        if 0 <= offset < len(self._dynamic):
            return self._dynamic[offset]
        raise ValueError(f"malformed HPACK: no header has index {index}")

    def _add(self, header: Header) -> None:
        self._dynamic.insert(0, header)
        self._used += _measure_header(header)
        self._evict()

    def _evict(self) -> None:
        while self._used > self._limit:
            self._used -= _measure_header(self._dynamic.pop())


def encode_headers(headers: list[Header]) -> bytes:
    """Encode a block of literals without indexing (6.2.2), with uncompressed names and values.

    Neither end's dynamic table changes.
    """
    return b"".join(
        b"\x00" + _encode_integer(len(name), 7) + name + _encode_integer(len(value), 7) + value
        for name, value in headers
    )


def _measure_header(header: Header) -> int:
    return len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD


def _encode_integer(value: int, prefix: int) -> bytes:
    """Encode an integer with a ``prefix``-bit prefix in a byte whose other bits are zero (5.1)."""
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
    return decode_huffman(text) if compressed else text, position + length
