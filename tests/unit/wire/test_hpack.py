"""HPACK against the examples of RFC 7541, appendix C."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import hpack

Headers = list[tuple[str, str]]

FIRST: Headers = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
SECOND: Headers = [*FIRST, ("cache-control", "no-cache")]
THIRD: Headers = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
]
MOVED: Headers = [
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
]
MOVED_307: Headers = [(":status", "307"), *MOVED[1:]]
COOKIE: Headers = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
]

REQUESTS = [
    ("C.3", "828684410f7777772e6578616d706c652e636f6d", FIRST, 57),
    ("C.3", "828684be58086e6f2d6361636865", SECOND, 110),
    ("C.3", "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD, 164),
    ("C.4", "828684418cf1e3c2e5f23a6ba0ab90f4ff", FIRST, 57),
    ("C.4", "828684be5886a8eb10649cbf", SECOND, 110),
    ("C.4", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD, 164),
]
RESPONSES = [
    (
        "C.5",
        (
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17687474"
            "70733a2f2f7777772e6578616d706c652e636f6d"
        ),
        MOVED,
        222,
    ),
    ("C.5", "4803333037c1c0bf", MOVED_307, 222),
    (
        "C.5",
        (
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a"
            "4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"
        ),
        COOKIE,
        215,
    ),
    (
        "C.6",
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        MOVED,
        222,
    ),
    ("C.6", "4883640effc1c0bf", MOVED_307, 222),
    (
        "C.6",
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
            "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
        ),
        COOKIE,
        215,
    ),
]


@pytest.mark.parametrize(
    ("table_size", "vectors"),
    [
        pytest.param(4096, REQUESTS[:3], id="C.3"),
        pytest.param(4096, REQUESTS[3:], id="C.4"),
        pytest.param(256, RESPONSES[:3], id="C.5"),
        pytest.param(256, RESPONSES[3:], id="C.6"),
    ],
)
def test_sequences_on_one_connection(table_size: int, vectors: list[tuple[str, str, Headers, int]]) -> None:
    decoder = hpack.HpackDecoder(table_size=table_size)
    for _, encoded, headers, used in vectors:
        decoded = decoder.decode(bytes.fromhex(encoded))
        assert [(name.decode(), value.decode()) for name, value in decoded] == headers
        assert decoder.used == used


@pytest.mark.parametrize(
    ("encoded", "header", "indexed"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header"), True),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), False),
        ("100870617373776f726406736563726574", (b"password", b"secret"), False),
        ("82", (b":method", b"GET"), False),
    ],
)
def test_single_headers(encoded: str, header: hpack.Header, indexed: bool) -> None:
    decoder = hpack.HpackDecoder()
    assert decoder.decode(bytes.fromhex(encoded)) == [header]
    assert decoder.dynamic == ((header,) if indexed else ())


def test_the_static_table_has_its_61_entries() -> None:
    assert len(hpack.STATIC) == 61
    assert hpack.STATIC[0] == (b":authority", b"")
    assert hpack.STATIC[15] == (b"accept-encoding", b"gzip, deflate")
    assert hpack.STATIC[60] == (b"www-authenticate", b"")


def test_a_smaller_table_evicts_the_oldest() -> None:
    decoder = hpack.HpackDecoder()
    decoder.decode(bytes.fromhex(REQUESTS[2][1].replace("bf", "90")))
    assert decoder.dynamic == ((b"custom-key", b"custom-value"),)
    assert decoder.decode(b"\x20") == []
    assert not decoder.dynamic
    assert decoder.used == 0


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = hpack.HpackDecoder(table_size=64)
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.used == 34
    decoder.decode(b"\x40\x01a\x28" + b"b" * 40)
    assert decoder.used == 0


@pytest.mark.parametrize(
    "malformed",
    [
        "80",  # index 0
        "be",  # nothing in the dynamic table
        "ff",  # integer cut off
        "ffffffffffffffffff",  # integer too large
        "3fe21f",  # table size over what we allow
        "8220",  # size update after a header
        "40",  # name missing
        "400161",  # value missing
        "40056161",  # string cut off
        "0081ff00",  # padding of eight ones
        "008100" + "00",  # padding of zeros
        "0084ffffffff00",  # end-of-string symbol
    ],
)
def test_malformed_blocks(malformed: str) -> None:
    with pytest.raises(ValueError, match="HPACK"):
        hpack.HpackDecoder().decode(bytes.fromhex(malformed))


def count_lines(block: bytes) -> int:
    """The lines of the decoder's code that one block runs."""
    ran = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal ran
        if frame.f_code.co_filename != hpack.__file__:
            return None
        ran += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        hpack.HpackDecoder().decode(block)
    finally:
        sys.settrace(before)
    return ran


@pytest.mark.parametrize("text", [b"a", b"Z", b"\xf9", b"0aZ\x01~\xf9"])
def test_the_work_for_a_byte_of_a_huffman_code_is_small(text: bytes) -> None:
    few, many = (hpack_literal(text * count) for count in (1000, 3000))
    hpack.HpackDecoder().decode(many)  # fills the table
    assert count_lines(many) - count_lines(few) <= 7 * (len(many) - len(few))


def hpack_literal(text: bytes) -> bytes:
    """A header without a name whose value is Huffman-coded."""
    codes = {symbol: f"{code:0{length}b}" for (length, code), symbol in hpack.make_codes().items()}
    bits = "".join(codes[byte] for byte in text)
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8)
    length = bytearray((0xFF,))
    rest = len(packed) - 0x7F
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((0x00, 0x00, *length, rest)) + packed


def test_a_block_does_not_resize_the_table_without_end() -> None:
    decoder = hpack.HpackDecoder()
    assert decoder.decode(bytes.fromhex("203fe11f")) == []
    with pytest.raises(ValueError, match="third"):
        decoder.decode(b"\x20" * 3)


def test_a_short_block_cannot_become_a_large_one() -> None:
    decoder = hpack.HpackDecoder(largest=10_000)
    decoder.decode(b"\x40\x01a\x7f\x81\x0f" + b"b" * 2048)
    with pytest.raises(ValueError, match="larger than 10000"):
        decoder.decode(b"\xbe" * 100)


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=300)), max_size=5))
def test_what_we_encode_reads_back(headers: list[hpack.Header]) -> None:
    decoder = hpack.HpackDecoder()
    assert decoder.decode(hpack.encode_headers(headers)) == headers
    assert decoder.dynamic == ()


@given(st.binary(max_size=64))
def test_any_bytes_are_headers_or_a_value_error(block: bytes) -> None:
    try:
        hpack.HpackDecoder().decode(block)
    except ValueError as error:
        assert "HPACK" in str(error)


def _compress(text: bytes) -> bytes:
    by_symbol = {symbol: (length, code) for (length, code), symbol in hpack.make_codes().items()}
    bits = "".join(f"{code:0{length}b}" for length, code in map(by_symbol.__getitem__, text))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


@given(st.binary(max_size=100))
def test_huffman_reads_every_byte(text: bytes) -> None:
    assert hpack.decode_huffman(_compress(text)) == text


def test_the_huffman_code_is_a_prefix_code_that_leaves_out_only_end_of_string() -> None:
    codes = hpack.make_codes()
    assert sorted(codes.values()) == list(range(256))
    assert sum(2.0**-length for length, _ in codes) == 1 - 2.0**-30
