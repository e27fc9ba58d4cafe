"""The Huffman code of HPACK (RFC 7541, appendix B).

The code is canonical: codes of one length count upwards in the order of their symbols, so the lengths say it all.
"""

from __future__ import annotations

from functools import cache

# The length in bits of each byte's code; the 257th symbol, end-of-string, has 30 bits and may not occur.
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
def codes() -> dict[tuple[int, int], int]:
    """The byte that each (length, code) stands for."""
    lengths = [int(length) for length in _LENGTHS.split()]
    table, code, previous = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        code <<= length - previous
        table[length, code] = symbol
        code, previous = code + 1, length
    return table


def decode(data: bytes) -> bytes:
    """The text behind ``data``. Raises ValueError for what is no code or badly padded (RFC 7541, 5.2)."""
    table = codes()
    out = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            length += 1
            symbol = table.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
            elif length >= _LONGEST:
                raise ValueError("malformed HPACK: not a Huffman code")
    if length > _LONGEST_PADDING or code != (1 << length) - 1:
        raise ValueError("malformed HPACK: bad padding after a Huffman code")
    return bytes(out)
