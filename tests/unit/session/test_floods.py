"""A daemon that sends without end and reads nothing: memory stays small, and the session ends or takes no notice."""

import tracemalloc
from collections.abc import Callable

import pytest

from ci_buildx.session.auth import SecretsService
from ci_buildx.session.session import BuildSession
from ci_buildx.wire import http2_streams
from ci_buildx.wire.http2_streams import ConnectionSetting, FrameType
from tests.unit.session import daemon

MANY = 20_000
SMALL = 2 << 20
"""Bytes: what 128 calls and 4,096 unread answers take, and less than a hundred for each repetition."""


def call(number: int, path: str = "/nobody.knows/This") -> bytes:
    return daemon.request(2 * number + 1, path)


def reset(number: int) -> bytes:
    return http2_streams.encode_rst_stream(2 * number + 1, http2_streams.ErrorCode.CANCEL)


SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
BLOCK = call(0)[http2_streams.HEADER_SIZE :]

FLOODS: dict[str, Callable[[int], bytes]] = {
    "ping": lambda _: http2_streams.encode_frame(FrameType.PING, 0, 0, b"12345678"),
    "settings": lambda _: http2_streams.encode_settings({}),
    "initial-window": lambda number: http2_streams.encode_settings({ConnectionSetting.INITIAL_WINDOW_SIZE: number}),
    "priority": lambda _: http2_streams.encode_frame(FrameType.PRIORITY, 0, 1, b"\0\0\0\0\1"),
    "unknown-type": lambda _: (50).to_bytes(3, "big") + b"\x63" + bytes(5) + b"x" * 50,
    "calls": call,
    "calls-left-open": lambda number: call(number, SECRET),
    "calls-taken-back": lambda number: call(number) + reset(number),
    "open-calls-taken-back": lambda number: call(number, SECRET) + reset(number),
    "one-call-again": lambda _: call(0, SECRET),
    "empty-data": lambda number: http2_streams.encode_frame(FrameType.DATA, 0, 1, b"") if number else call(0, SECRET),
    "empty-continuation": lambda number: (
        http2_streams.encode_frame(FrameType.CONTINUATION, 0, 1, b"")
        if number
        else http2_streams.encode_frame(FrameType.HEADERS, 0, 1, BLOCK)
    ),
    "long-continuation": lambda number: http2_streams.encode_frame(
        FrameType.CONTINUATION if number else FrameType.HEADERS, 0, 1, b"x" * 300
    ),
    "messages-for-a-finished-call": lambda number: daemon.message(1, b"x" * 5) if number else call(0),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_takes_no_memory(flood: Callable[[int], bytes]) -> None:
    session = BuildSession((SecretsService({}),), shared_key="key", id="id")
    session.take_incoming(daemon.wrap(daemon.greeting()))
    floods = [daemon.wrap(b"".join(map(flood, range(start, start + 500)))) for start in range(0, MANY, 500)]
    tracemalloc.start()
    for message in floods:
        session.take_incoming(message)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < SMALL
    assert not session.failure or "broke the session's protocol" in session.failure


def test_frames_that_want_an_answer_are_counted() -> None:
    session = BuildSession((SecretsService({}),), shared_key="key", id="id")
    session.take_incoming(daemon.wrap(daemon.greeting()))
    most = http2_streams._MOST_ANSWERS - 1  # one answers the greeting
    session.take_incoming(daemon.wrap(b"".join(map(FLOODS["ping"], range(most)))))
    before = session.failure
    session.take_incoming(daemon.wrap(FLOODS["ping"](0)))
    assert before == ""
    assert session.failure.endswith(": too many frames that require a response")
