"""What a buildkitd may answer, and how much of it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.grpc import LARGEST_ANSWER
from ci_buildx.buildkit.messages import STATUS_RESPONSE, CacheOptions, DiskUsageRequest, SolveRequest
from ci_buildx.buildkit.solve import MOST_QUEUED, _Backlog
from ci_buildx.errors import BuildkitError
from ci_buildx.model.status import StatusUpdate
from ci_buildx.session.session import BuildSession
from ci_buildx.wire import protobuf
from ci_buildx.wire.protobuf import MOST_ELEMENTS

REQUEST = SolveRequest(ref="ref", session="s", frontend="f", frontend_attrs={}, exporters=(), cache=CacheOptions())
PIECE = protobuf.encode_length_delimited(1, protobuf.encode_length_delimited(3, b"x" * (1 << 20)))
"""A mebibyte of status."""


class Daemon(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers everything with ``answer``; its status goes on until it is told to end, and ``told`` counts it."""

    def __init__(self) -> None:
        self.answer = b""
        self.told = 0
        self.over = threading.Event()

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if method == "Session":
            return grpc.stream_stream_rpc_method_handler(self.session)
        if method == "Status":
            return grpc.unary_stream_rpc_method_handler(self.status)
        return grpc.unary_unary_rpc_method_handler(self.solve if method == "Solve" else lambda *_: self.answer)

    def session(self, _: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.over.set)
        self.over.wait(60)
        yield from ()

    def solve(self, *_: object) -> bytes:
        self.over.wait(60)
        return self.answer

    def status(self, *_: object) -> Iterator[bytes]:
        while not self.over.is_set() and self.told < 500:
            self.told += 1
            yield PIECE


@pytest.fixture
def daemon() -> Daemon:
    """A buildkitd whose status never ends."""
    return Daemon()


@pytest.fixture
def control(daemon: Daemon) -> Iterator[Control]:
    """A connection to ``daemon``."""
    server = grpc.server(ThreadPoolExecutor(8), handlers=[daemon], options=[("grpc.max_send_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Control(f"127.0.0.1:{port}") as opened:
        yield opened
    daemon.over.set()
    server.stop(None).wait()


def test_a_message_beyond_what_buildkitd_sends_is_refused(control: Control, daemon: Daemon) -> None:
    daemon.answer = protobuf.encode_length_delimited(99, b"x" * (LARGEST_ANSWER - 10))
    assert control.read_disk_usage(DiskUsageRequest(), timeout=30) == []
    daemon.answer += b"x" * 100
    with pytest.raises(BuildkitError, match="larger than max"):
        control.read_disk_usage(DiskUsageRequest(), timeout=30)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda control: control.read_disk_usage(DiskUsageRequest(), timeout=30), "buildkitd's response to DiskUsage"),
        (lambda control: control.list_workers(timeout=30), "buildkitd's response to ListWorkers"),
    ],
)
def test_elements_without_end_are_refused(
    control: Control, daemon: Daemon, ask: Callable[[Control], object], said: str
) -> None:
    daemon.answer = b"\x0a\x00" * (MOST_ELEMENTS + 1)
    with pytest.raises(BuildkitError, match=rf"{said} is invalid: .* more than {MOST_ELEMENTS} elements of lists"):
        ask(control)


def test_elements_of_elements_count() -> None:
    half = protobuf.encode_length_delimited(1, b"\x12\x00" * (MOST_ELEMENTS // 2))
    assert len(STATUS_RESPONSE.decode(half).vertexes[0].inputs) == MOST_ELEMENTS // 2
    with pytest.raises(ValueError, match="elements of lists"):
        STATUS_RESPONSE.decode(half + half)


def test_an_answer_to_solve_that_cannot_be_read(control: Control, daemon: Daemon) -> None:
    daemon.answer = b"\xff"
    daemon.over.set()
    with pytest.raises(BuildkitError, match="buildkitd's response to Solve is invalid"):
        control.solve(REQUEST, session=BuildSession([], shared_key=""), on_status=lambda _: None)


def test_a_display_that_stands_still_stops_the_status(control: Control, daemon: Daemon) -> None:
    """And with it buildkitd, which has sent no more than what may wait here and in the connection's own windows."""
    shown = threading.Event()
    counts: list[int] = []

    def show(_: StatusUpdate) -> None:
        if counts:
            return
        before = -1
        while before != daemon.told:
            before = daemon.told
            shown.wait(1)
        counts.append(before)
        daemon.over.set()

    control.solve(REQUEST, session=BuildSession([], shared_key=""), on_status=show)
    # grpcio's own windows are some 24 MB, depending on the connection; without a bound, all 500 would be sent.
    assert counts[0] < (MOST_QUEUED >> 20) + 32


def test_a_backlog_takes_one_message_of_any_size_and_ends() -> None:
    backlog = _Backlog(10)
    assert backlog.add(100)
    waiting = threading.Thread(target=backlog.add, args=(1,))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    backlog.take(100)
    waiting.join(10)
    backlog.close()
    assert not backlog.add(100)
