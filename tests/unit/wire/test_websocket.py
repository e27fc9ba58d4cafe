"""The frame codec, fed with literal frames as they stand in RFC 6455 and as servers send them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_buildx.wire.websocket import (
    MESSAGE_LIMIT,
    FrameOpcode,
    FrameReader,
    WebSocketError,
    frame_payload,
    make_frame_header,
    mask_payload,
    read_close_reason,
)


def messages(frames: FrameReader, *pieces: bytes) -> list[tuple[FrameOpcode, bytes]]:
    return [(message.opcode, bytes(message.payload)) for piece in pieces for message in frames.feed(piece)]


def server_frame(payload: bytes, opcode: int = 2, *, final: bool = True) -> bytes:
    size = len(payload)
    first = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        return first + bytes((size,)) + payload
    if size < 1 << 16:
        return first + b"\x7e" + size.to_bytes(2, "big") + payload
    return first + b"\x7f" + size.to_bytes(8, "big") + payload


def test_reads_the_frames_of_the_rfc() -> None:
    hello, fragments = b"\x81\x05Hello", b"\x01\x03Hel\x80\x02lo"
    assert messages(FrameReader(), hello, fragments) == [(FrameOpcode.TEXT, b"Hello"), (FrameOpcode.TEXT, b"Hello")]


def test_reads_a_control_frame_between_fragments() -> None:
    got = messages(FrameReader(), b"\x02\x03abc\x89\x02hi\x80\x01d")
    assert got == [(FrameOpcode.PING, b"hi"), (FrameOpcode.BINARY, b"abcd")]


def test_an_empty_first_fragment_begins_a_message() -> None:
    assert messages(FrameReader(), b"\x02\x00\x80\x01d") == [(FrameOpcode.BINARY, b"d")]


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"\xc2\x01a", "reserved bits"),
        (b"\x82\x81\0\0\0\0a", "masked"),
        (b"\x83\x01a", "unknown opcode 3"),
        (b"\x89\x7e\x00\x7e", "control frame"),
        (b"\x09\x01a", "control frame"),
        (b"\x80\x01a", "a continuation without a message"),
        (b"\x82\x7e\x00\x7d", "longer than its shortest encoding"),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "longer than its shortest encoding"),
        (b"\x02\x01a\x82\x01b", "a continuation without a message"),
        (b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00", "longer than"),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "longer than"),
    ],
)
def test_refuses_what_a_server_must_not_send(frame: bytes, complaint: str) -> None:
    with pytest.raises(WebSocketError, match=complaint):
        FrameReader().feed(frame)


def test_bounds_a_message_in_fragments() -> None:
    frames = FrameReader(limit=10)
    frames.feed(server_frame(b"123456", final=False))
    with pytest.raises(WebSocketError, match="longer than 10"):
        frames.feed(server_frame(b"78901", opcode=0))


@pytest.mark.parametrize(("size", "ends"), [(0, False), (1, True)])
def test_fragments_without_end_take_no_memory(size: int, ends: bool) -> None:
    """Nor time: what has come is not looked at again with each of them."""
    with pytest.raises(WebSocketError, match=f"longer than {MESSAGE_LIMIT} bytes"):
        FrameReader().feed(b"\x82\x7f" + (MESSAGE_LIMIT + 1).to_bytes(8, "big"))
    frames = FrameReader(limit=100_000)
    frames.feed(server_frame(b"", final=False))
    flood = server_frame(b"x" * size, opcode=0, final=False) * 50_000
    tracemalloc.start()
    frames.feed(flood)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 400_000
    if ends:
        with pytest.raises(WebSocketError, match="longer than 100000"):
            frames.feed(flood + flood)


def test_a_message_that_comes_in_small_pieces_takes_its_size() -> None:
    frames = FrameReader()
    whole = server_frame(b"x" * 1_000_000)
    tracemalloc.start()
    for start in range(0, len(whole) - 2, 2):
        frames.feed(whole[start : start + 2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
    assert [len(message.payload) for message in frames.feed(whole[-2:])] == [1_000_000]


@settings(deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=300) | st.integers(65530, 65540).map(bytes), max_size=6),
    cuts=st.lists(st.integers(1, 70000), max_size=30),
)
def test_messages_do_not_depend_on_how_the_bytes_are_split(payloads: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(map(server_frame, payloads))
    pieces, rest = [], wire
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert [payload for _, payload in messages(FrameReader(), *pieces, rest)] == payloads


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_garbage_ends_in_messages_or_an_error(garbage: bytes) -> None:
    try:
        FrameReader().feed(garbage)
    except WebSocketError:
        return


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "8280"), (125, "82fd"), (126, "82fe007e"), (65535, "82feffff"), (65536, "82ff0000000000010000")],
)
def test_client_headers_are_masked_and_as_short_as_can_be(size: int, expected: str) -> None:
    assert make_frame_header(FrameOpcode.BINARY, size).hex() == expected + "00000000"


@settings(deadline=None)
@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_payload_back(payload: bytes, key: bytes) -> None:
    assert mask_payload(mask_payload(payload, key), key) == payload


def test_masks_as_the_rfc_does() -> None:
    assert frame_payload(b"Hello", FrameOpcode.TEXT, bytes.fromhex("37fa213d")) == bytes.fromhex(
        "818537fa213d7f9f4d5158"
    )


def test_close_reason() -> None:
    assert read_close_reason(memoryview(b"\x03\xf3went wrong")) == "1011 went wrong"
    assert read_close_reason(memoryview(b"")) == ""
