"""HPACK against ``hpack`` from PyPI: blocks of either are read by the other, and both refuse the same."""

from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hpack.struct import NeverIndexedHeaderTuple
from hypothesis import assume, given
from hypothesis import strategies as st

from ci_buildx.wire import hpack as ours

LARGEST = 1 << 16

known = st.sampled_from([name for name, _ in ours.STATIC] + [b"grpc-status", b"te"])
names = known | st.binary(min_size=1, max_size=40)
values = st.sampled_from([value for _, value in ours.STATIC]) | st.binary(max_size=60)
headers = st.lists(st.tuples(names, values, st.booleans()), max_size=8)
blocks = st.lists(st.tuples(headers, st.booleans(), st.none() | st.integers(0, 4096)), min_size=1, max_size=4)


@given(blocks=blocks)
def test_we_read_what_it_writes(blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]) -> None:
    """Block after block: the tables of both ends stay the same, also when their size changes."""
    encoder, decoder = Encoder(), ours.HpackDecoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        given = [NeverIndexedHeaderTuple(name, value) if never else (name, value) for name, value, never in fields]
        assert decoder.decode(encoder.encode(given, huffman=huffman)) == [(name, value) for name, value, _ in fields]
        assert decoder.dynamic == tuple(encoder.header_table.dynamic_entries)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_it_reads_what_we_write(headers: list[ours.Header]) -> None:
    decoder = Decoder()
    assert [tuple(header) for header in decoder.decode(ours.encode_headers(headers), raw=True)] == headers
    assert not decoder.header_table.dynamic_entries


def ours_of(block: bytes) -> list[ours.Header] | None:
    try:
        return ours.HpackDecoder(largest=LARGEST).decode(block)
    except ValueError:
        return None


def theirs_of(block: bytes) -> list[ours.Header] | None:
    try:
        return [(name, value) for name, value in Decoder(LARGEST).decode(block, raw=True)]
    except HPACKError:
        return None


def damaged(seed: int) -> bytes:
    """A block in which a few bytes are others, are missing, or are twice there."""
    chance = random.Random(seed)
    given = [(name, bytes(chance.choices(range(256), k=chance.randrange(9)))) for name, _ in ours.STATIC]
    block = bytearray(Encoder().encode(chance.sample(given, 4), huffman=chance.random() < 0.7))
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(block))
        kind = chance.randrange(3)
        if kind == 0:
            block[place] = chance.randrange(256)
        elif kind == 1:
            del block[place:][: chance.randrange(1, 4)]
        else:
            block[place:place] = block[place : place + 3]
    return bytes(block)


@pytest.mark.parametrize("seed", range(0, 20_000, 1000))
def test_both_refuse_the_same(seed: int) -> None:
    differ = [block.hex() for block in map(damaged, range(seed, seed + 200)) if ours_of(block) != theirs_of(block)]
    assert differ == []


def has_many_updates(block: bytes) -> bool:
    """Whether a block begins with more than the two updates of the table's size that RFC 7541, 4.2, allows."""
    try:
        ours.HpackDecoder(largest=LARGEST).decode(block)
    except ValueError as error:
        return "third one" in str(error) and block[0] & 0xE0 == 0x20
    return False


@given(st.binary(max_size=32))
def test_both_make_the_same_of_any_bytes(block: bytes) -> None:
    """But for updates of the table's size: theirs takes any number of them."""
    assume(not has_many_updates(block))
    assert ours_of(block) == theirs_of(block)
