"""WebSocket frames against ``wsproto``: what either sends the other reads, and both refuse the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as Theirs

from ci_buildx.wire.websocket import FrameOpcode, FrameReader, WebSocketError, frame_payload

payloads = st.binary(max_size=200) | st.integers(65_530, 65_540).map(bytes) | st.integers(120, 130).map(bytes)
keys = st.binary(min_size=4, max_size=4)
Said = list[tuple[int, bytes]]


def read_by_it(data: bytes, *, client: bool = True) -> Said:
    """Messages and control frames, in order; the code of a CLOSE stands before its reason again."""
    protocol = FrameProtocol(client=client, extensions=[])
    protocol.receive_bytes(data)
    said: Said = []
    begun: tuple[int, bytes] | None = None
    for frame in protocol.received_frames():
        payload = _bytes(frame)
        if frame.opcode >= Theirs.CLOSE:
            said.append((int(frame.opcode), payload))
            continue
        begun = (begun[0], begun[1] + payload) if begun else (int(frame.opcode), payload)
        if frame.message_finished:
            said.append(begun)
            begun = None
    return said


def _bytes(frame: Any) -> bytes:
    if frame.opcode == Theirs.CLOSE:
        code, reason = frame.payload
        # wsproto invents 1005 for a CLOSE without a code.
        return b"" if code == 1005 else int(code).to_bytes(2, "big") + (reason or "").encode()
    return frame.payload.encode() if isinstance(frame.payload, str) else bytes(frame.payload)


def read_by_us(data: bytes) -> Said:
    return [(int(message.opcode), bytes(message.payload)) for message in FrameReader().feed(data)]


@given(
    st.lists(
        st.tuples(st.sampled_from([FrameOpcode.BINARY, FrameOpcode.PING, FrameOpcode.PONG]), payloads, keys), max_size=5
    )
)
def test_it_reads_what_we_send(frames: list[tuple[FrameOpcode, bytes, bytes]]) -> None:
    frames = [(opcode, payload[:125] if opcode > 2 else payload, key) for opcode, payload, key in frames]
    data = b"".join(frame_payload(payload, opcode, key) for opcode, payload, key in frames)
    assert read_by_it(data, client=False) == [(int(opcode), payload) for opcode, payload, _ in frames]


@given(st.lists(st.tuples(payloads, st.booleans(), st.binary(max_size=125)), max_size=5), st.data())
def test_we_read_what_it_sends(pieces: list[tuple[bytes, bool, bytes]], data: st.DataObject) -> None:
    """Messages in fragments with PINGs between them, and a CLOSE; cut anywhere."""
    server = FrameProtocol(client=False, extensions=[])
    sent, expected, message = b"", [], b""
    for payload, final, ping in pieces:
        sent += server.send_data(payload, fin=final) + server.ping(ping)
        message += payload
        if final:
            expected.append((int(FrameOpcode.BINARY), message))
            message = b""
        expected.append((int(FrameOpcode.PING), ping))
    sent += server.close(1001, "away")
    expected.append((int(FrameOpcode.CLOSE), b"\x03\xe9away"))
    cut = data.draw(st.integers(0, len(sent)))
    frames = FrameReader()
    found = [(int(one.opcode), bytes(one.payload)) for part in (sent[:cut], sent[cut:]) for one in frames.feed(part)]
    assert found == expected


def damaged(seed: int) -> bytes:
    """Frames of a server in which some bits are others."""
    chance = random.Random(seed)
    server = FrameProtocol(client=False, extensions=[])
    data = bytearray()
    for _ in range(chance.randrange(1, 4)):
        payload = bytes(chance.choices(range(128), k=chance.choice([0, 1, 5, 125, 126, 300])))
        is_ping = chance.random() < 0.5
        data += server.ping(payload[:125]) if is_ping else server.send_data(payload, fin=chance.random() < 0.6)
    for _ in range(chance.randrange(3)):
        data[chance.randrange(min(len(data), 6))] ^= 1 << chance.randrange(8)
    return bytes(data)


def outcome(read: Any, data: bytes) -> Said | None:
    try:
        found: Said = read(data)
    except (WebSocketError, ParseFailed):
        return None
    return found[: _end(found)]


def _end(found: Said) -> int:
    """Where a CLOSE ends a connection: what follows it is not read by wsproto, nor by those who use our frames."""
    ends = [index for index, (opcode, _) in enumerate(found) if opcode == FrameOpcode.CLOSE]
    return ends[0] + 1 if ends else len(found)


@pytest.mark.parametrize("seed", range(0, 10_000, 1000))
def test_both_refuse_the_same(seed: int) -> None:
    assert [data.hex() for data in map(damaged, range(seed, seed + 300)) if _differ(data)] == []


def _differ(data: bytes) -> bool:
    """Whether they read something else, and it counts: the bytes of text and of a CLOSE do not."""
    ours, theirs = outcome(read_by_us, data), outcome(read_by_it, data)
    if ours is None and theirs is not None:
        # We refuse a frame by its header, wsproto when it has come whole.
        is_over = bool(theirs) and theirs[-1][0] == FrameOpcode.CLOSE
        return not is_over and not _is_too_long(data) and outcome(read_by_it, data + bytes(70_000)) is not None
    if theirs is None and ours is not None:
        # wsproto refuses a header by its first byte, we when the length has come: PONGs complete it and are valid.
        if outcome(read_by_us, data + b"\x8a\0" * 5) is None:
            return False
        return not _is_no_utf8(data) and not any(opcode == FrameOpcode.CLOSE and payload for opcode, payload in ours)
    return ours != theirs


def _is_no_utf8(data: bytes) -> bool:
    try:
        read_by_it(data)
    except ParseFailed as error:
        return error.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
    return False


def _is_too_long(data: bytes) -> bool:
    try:
        FrameReader().feed(data)
    except WebSocketError as error:
        return "longer than" in str(error)
    return False
