"""What a daemon can do wrong, by a gRPC server that does it: a real buildkitd cannot be made to."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from ci_buildx.buildkit import solve as buildkit_solve
from ci_buildx.buildkit.control import Control, SolveResult
from ci_buildx.buildkit.messages import RPC_STATUS, CacheOptions, RpcStatus, SolveRequest, StatusDetail
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model.status import StatusUpdate
from ci_buildx.session.session import BuildSession
from tests.unit.conftest import DebugLog
from tests.unit.session import daemon

REQUEST = SolveRequest(ref="ref", session="s", frontend="f", frontend_attrs={}, exporters=(), cache=CacheOptions())


class Daemon(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Behaves well until told otherwise; ``released`` lets every call that waits go on.

    It says nothing of a build before the session has ``begun``: a call that is taken back early never gets here.
    """

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun = threading.Event()
        self.said_to_session: list[bytes] = []
        self.session_ends = False
        self.solve_waits = False
        self.status_hangs = False
        self.error: tuple[grpc.StatusCode, str, bytes] | None = None

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "Session":
            return grpc.stream_stream_rpc_method_handler(self.session)
        if method == "Status":
            return grpc.unary_stream_rpc_method_handler(self.status)
        return grpc.unary_unary_rpc_method_handler(self.solve if method == "Solve" else self.other)

    def session(self, _: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from map(daemon.wrap, self.said_to_session)
        if self.session_ends:
            self.begun.set()
            return
        context.add_callback(self.released.set)
        self.begun.set()
        self.released.wait()

    def solve(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        if self.solve_waits:
            self.released.wait()
        if self.error is not None:
            code, text, details = self.error
            context.set_trailing_metadata((("grpc-status-details-bin", details),) if details else ())
            context.abort(code, text)
        return daemon.wrap(b"\x0a\x01k\x12\x01v")

    def status(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.begun.wait(60)
        yield daemon.wrap(b"\x0a\x06sha:ab")
        if self.status_hangs:
            context.add_callback(self.released.set)
            self.released.wait()

    def other(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown\nmethod")
        raise AssertionError


@pytest.fixture
def wrong() -> Daemon:
    """A buildkitd whose wrong answers the test chooses."""
    return Daemon()


@pytest.fixture
def control(wrong: Daemon) -> Iterator[Control]:
    """A connection to ``wrong``."""
    server = grpc.server(ThreadPoolExecutor(8), handlers=[wrong])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Control(f"127.0.0.1:{port}") as opened:
        yield opened
    wrong.released.set()
    server.stop(None).wait()


def solve(
    control: Control, updates: list[StatusUpdate] | None = None, stop: threading.Event | None = None
) -> SolveResult:
    note = (updates if updates is not None else []).append
    return control.solve(REQUEST, session=BuildSession([], shared_key=""), on_status=note, stop=stop)


def test_a_good_end(control: Control) -> None:
    updates: list[StatusUpdate] = []
    assert solve(control, updates) == SolveResult(exporter_response={"k": "v"})
    assert [vertex.digest for update in updates for vertex in update.vertexes] == ["sha:ab"]


def test_a_status_that_does_not_end_is_not_waited_for(
    control: Control, wrong: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildkit_solve, "_LAST_WORDS", 0.2)
    wrong.status_hangs = True
    assert solve(control).exporter_response == {"k": "v"}


def test_an_error_of_the_build_with_large_details(control: Control, wrong: Daemon) -> None:
    details = RPC_STATUS.encode(RpcStatus(2, "", (StatusDetail("unknown", b"x" * (1 << 20)),)))
    wrong.error = (grpc.StatusCode.NOT_FOUND, "no such image", details)
    with pytest.raises(SolveError) as caught:
        solve(control)
    assert str(caught.value) == "failed to solve: NotFound: no such image"


def test_unavailable_with_details_is_the_builds_own(control: Control, wrong: Daemon) -> None:
    wrong.error = (grpc.StatusCode.UNAVAILABLE, "registry is down", RPC_STATUS.encode(RpcStatus(14, "", ())))
    with pytest.raises(SolveError, match="Unavailable: registry is down"):
        solve(control)


def test_a_session_of_nonsense(control: Control, wrong: Daemon) -> None:
    wrong.said_to_session = [b"HTTP/1.1 400 Bad Request"]
    wrong.solve_waits = True
    with pytest.raises(BuildkitError, match="broke the session's protocol: the peer does not speak HTTP/2"):
        solve(control)


def test_a_session_that_ends_while_solve_waits(
    control: Control, wrong: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildkit_solve, "_FAREWELL", 0.2)
    wrong.session_ends = wrong.solve_waits = True
    with pytest.raises(BuildkitError, match="buildkitd ended the session during the build"):
        solve(control)


@pytest.mark.parametrize("text", ["no active session for abc: context deadline exceeded", "context canceled"])
def test_a_build_that_fails_for_want_of_its_session_has_lost_its_connection(
    control: Control, wrong: Daemon, text: str
) -> None:
    """So it is repeated over a new one; by its details it would be the build's own failure."""
    details = RPC_STATUS.encode(RpcStatus(2, "", (StatusDetail("unknown", b"x"),)))
    wrong.error, wrong.session_ends, wrong.solve_waits = (grpc.StatusCode.UNKNOWN, text, details), True, True
    threading.Timer(0.5, wrong.released.set).start()
    with pytest.raises(BuildkitError, match="lost the connection to buildkitd during the build") as caught:
        solve(control)
    assert caught.value.code == "UNAVAILABLE"


def test_stop(control: Control, wrong: Daemon) -> None:
    wrong.solve_waits = True
    stop = threading.Event()
    stop.set()
    with pytest.raises(BuildkitError, match="the build was stopped"):
        solve(control, stop=stop)


def test_an_error_of_the_caller_ends_the_calls(control: Control, wrong: Daemon) -> None:
    def fail(_: StatusUpdate) -> None:
        raise KeyboardInterrupt

    wrong.solve_waits = True
    session = BuildSession([], shared_key="")
    with pytest.raises(KeyboardInterrupt):
        control.solve(REQUEST, session=session, on_status=fail)
    assert wrong.released.wait(60)
    list(session.take_outgoing())


def test_a_unary_call_that_fails(control: Control) -> None:
    with pytest.raises(BuildkitError, match=r"^buildkitd did not respond to Info: unknown method$") as caught:
        control.read_version(timeout=10)
    assert caught.value.code == "UNIMPLEMENTED"


def test_the_debug_log_tells_of_each_call(
    control: Control, wrong: Daemon, debug_log: DebugLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong, "other", lambda *_: b"")
    control.read_version(20)
    solve(control)
    wrong.error = (grpc.StatusCode.NOT_FOUND, "no such image", b"")
    with pytest.raises(SolveError):
        solve(control)
    lines = [re.sub(r"\d+\.\d{3} s|session [0-9a-f]{32}", "X", line) for line in debug_log.of("buildkit")]
    begins = "Solve ref begins, with X"
    failed = "Solve ref: failed after X: failed to solve: NotFound: no such image"
    assert lines == ["Info: OK after X", begins, "Solve ref: OK after X", begins, failed]


def test_the_debug_log_tells_of_a_call_that_fails(debug_log: DebugLog) -> None:
    with Control("unix:/nonexistent/socket") as nowhere, pytest.raises(BuildkitError):
        nowhere.list_workers(20)
    assert debug_log.of("buildkit")[0].startswith("ListWorkers: Unavailable: ")
