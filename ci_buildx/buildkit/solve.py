"""One running build: its calls Session, Solve and Status, which start and end together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ci_buildx.buildkit.messages import SOLVE_REQUEST, SOLVE_RESPONSE, STATUS_RESPONSE, SolveRequest
from ci_buildx.errors import BuildkitError
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.status import StatusUpdate
from ci_buildx.session.session import BuildSession
from ci_buildx.wire import protobuf

if TYPE_CHECKING:
    from ci_buildx.buildkit.relay import FrontendInputs, SolveRelay

_LOG = debug.get_log("buildkit")
_REF_FIELD = 1
_TRACE = "traceparent"
"""Metadata of a call that buildkitd's spans are below (W3C Trace Context)."""
_STOP_POLL = 0.1
_LAST_WORDS = 5.0
"""Seconds that Status may take after Solve has ended (buildx waits as long, BuildKit ``client/solve.go``)."""
_FAREWELL = 2.0
MOST_QUEUED = 32 << 20
"""Bytes of status messages that may be queued for display before buildkitd has to wait."""
_LOST = "lost the connection to buildkitd during the build"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResult:
    """The result of a build: the exporters' response, such as ``containerimage.digest``, or the answer to a call."""

    exporter_response: dict[str, str]


@dataclass(frozen=True, slots=True)
class _SolveEnded:
    """Solve has ended; its call has the result."""


@dataclass(frozen=True, slots=True)
class _StatusEnded:
    """Status has ended for any reason; Solve has the outcome of the build."""


@dataclass(frozen=True, slots=True)
class _SessionEnded:
    """Session has ended, which is unexpected before Solve ends."""

    error: Exception | None


@dataclass(frozen=True, slots=True)
class _Told:
    """A message of Status and its size in bytes."""

    update: StatusUpdate
    size: int


_Event = _Told | _SolveEnded | _StatusEnded | _SessionEnded


class _Backlog:
    """A limit on queued bytes between two threads; thread-safe.

    At most ``most`` bytes, or a single larger message, can be queued.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, size: int) -> bool:
        """Wait until ``size`` bytes fit, and reserve them; return False if the backlog is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._held or self._held + size <= self._most)
            self._held += size
            return not self._is_closed

    def take(self, size: int) -> None:
        """Release ``size`` bytes."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all waiting threads and make them stop."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class RunningSolve:
    """A context manager for the three calls: on exit, cancels them and tells their threads to end.

    The calls report into one queue, which the caller's thread drains, so that status is displayed in that thread.
    """

    def __init__(self, channel: Any, service: str, session: BuildSession, trace: str = "") -> None:
        self._channel = channel
        self._service = service
        self._session = session
        self._metadata = ((_TRACE, trace),) if trace else None
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._calls: list[Any] = []
        self._answer: dict[str, str] = {}
        self._backlog = _Backlog(MOST_QUEUED)

    def __enter__(self) -> RunningSolve:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._backlog.close()
        for call in self._calls:
            call.cancel()

    def run(
        self,
        request: SolveRequest,
        on_status: Callable[[StatusUpdate], None],
        stop: threading.Event | None,
        relay: SolveRelay | None = None,
    ) -> SolveResult:
        """Run the build, see :meth:`ci_buildx.buildkit.control.Control.solve`."""
        stop = stop or threading.Event()
        inputs = None
        if relay is not None:
            request, inputs = relay.add_inputs(request)
        began = time.monotonic()
        _LOG.debug("Solve %s begins, with session %s", request.ref, self._session.id)
        solve = self._begin(request, relayed=relay is not None)
        if relay is not None and inputs is not None:
            self._relay(request, inputs, relay)
        ended = self._follow(solve, on_status, stop)
        try:
            response = solve.result()
        except Exception as error:
            judged = self._judge(error, ended, stopped=stop.is_set())
            _LOG.debug("Solve %s: failed after %.3f s: %s", request.ref, time.monotonic() - began, judged)
            raise judged from error
        _LOG.debug("Solve %s: OK after %.3f s", request.ref, time.monotonic() - began)
        try:
            return SolveResult(exporter_response=SOLVE_RESPONSE.decode(response) | self._answer)
        except ValueError as error:
            raise BuildkitError(f"buildkitd's response to Solve is invalid: {error}") from error

    def _begin(self, request: SolveRequest, *, relayed: bool) -> Any:
        sent = replace(request, frontend="") if request.is_call or relayed else request
        outgoing = self._session.take_outgoing()
        session = self._open_stream("Session", client=True)(outgoing, metadata=self._session.metadata)
        solve = self._channel.unary_unary(self._service + "Solve").future(
            SOLVE_REQUEST.encode(sent), metadata=self._metadata
        )
        status = self._open_stream("Status")(protobuf.encode_length_delimited(_REF_FIELD, request.ref.encode()))
        self._calls = [solve, status, session]
        solve.add_done_callback(lambda _: self._events.put(_SolveEnded()))
        self._start("session", self._serve, session)
        self._start("status", self._listen, status)
        if request.is_call and not relayed:
            self._call(request)
        return solve

    def _call(self, request: SolveRequest) -> None:
        from ci_buildx.buildkit.gateway import FrontendRequest, GatewayBridge

        bridge = GatewayBridge(self._channel, request.ref)
        asked = FrontendRequest(frontend=request.frontend, frontend_attrs=request.frontend_attrs)
        self._calls.append(bridge)
        self._start("gateway", lambda bridge: bridge.ask(asked, self._answer.update), bridge)

    def _relay(self, request: SolveRequest, inputs: FrontendInputs, relay: SolveRelay) -> None:
        from ci_buildx.buildkit.gateway import GatewayBridge
        from ci_buildx.buildkit.relay import run_frontend

        bridge = GatewayBridge(self._channel, request.ref)
        self._calls.append(bridge)
        self._start("gateway", lambda bridge: run_frontend(bridge, request, inputs, relay, self._answer.update), bridge)

    def _open_stream(self, method: str, *, client: bool = False) -> Any:
        kind = self._channel.stream_stream if client else self._channel.unary_stream
        return kind(self._service + method)

    @staticmethod
    def _start(name: str, target: Callable[[Any], None], call: Any) -> None:
        threading.Thread(target=target, args=(call,), name=name, daemon=True).start()

    def _serve(self, call: Any) -> None:
        error = None
        try:
            for message in call:
                self._session.take_incoming(message)
                if self._session.failure:
                    break
        except Exception as raised:
            error = raised
        self._session.close()
        self._events.put(_SessionEnded(error))

    def _listen(self, call: Any) -> None:
        import grpc

        with suppress(grpc.RpcError, ValueError):
            for message in call:
                if not self._backlog.add(len(message)):
                    break
                self._events.put(_Told(STATUS_RESPONSE.decode(message), len(message)))
        self._events.put(_StatusEnded())

    def _follow(
        self, solve: Any, on_status: Callable[[StatusUpdate], None], stop: threading.Event
    ) -> _SessionEnded | None:
        """Forward status until Solve and Status have ended; return the session's end if it came before Solve's."""
        solving = listening = True
        ended = None
        deadline = float("inf")
        while (solving or listening) and not stop.is_set() and time.monotonic() < deadline:
            match self._take_event():
                case _Told(update, size):
                    on_status(update)
                    self._backlog.take(size)
                    deadline = deadline if solving else time.monotonic() + _LAST_WORDS
                case _SolveEnded():
                    solving = False
                    deadline = time.monotonic() + _LAST_WORDS
                    self._session.close()
                case _StatusEnded():
                    listening = False
                case _SessionEnded() as event if solving:
                    # Solve usually fails by itself then, with a better reason; it may also wait for the session forever
                    ended = event
                    deadline = time.monotonic() + (0 if self._session.failure else _FAREWELL)
        if solving:
            solve.cancel()
        return ended

    def _take_event(self) -> _Event | None:
        try:
            return self._events.get(timeout=_STOP_POLL)
        except Empty:
            return None

    def _judge(self, error: Exception, ended: _SessionEnded | None, *, stopped: bool) -> Exception:
        """Return the error to report for a Solve that ended with ``error``."""
        from ci_buildx.buildkit import diagnostics
        from ci_buildx.buildkit import grpc as buildkit_grpc

        if stopped:
            return BuildkitError("the build was stopped", code="CANCELLED")
        if self._session.failure:
            return BuildkitError(self._session.failure)
        details = buildkit_grpc.read_details(error)
        if ended is not None and _is_loss(buildkit_grpc.describe_error(error)):
            return BuildkitError(f"{_LOST}: {buildkit_grpc.read_text(ended.error or error)}", code="UNAVAILABLE")
        if details or not buildkit_grpc.is_connection_lost(error):
            return diagnostics.read_failure(buildkit_grpc.describe_error(error), details)
        if ended is not None and ended.error is None:
            return BuildkitError(
                "buildkitd ended the session during the build", code=buildkit_grpc.read_code_name(error)
            )
        cause = ended.error if ended is not None and ended.error is not None else error
        return buildkit_grpc.translate_error(cause, _LOST)


def _is_loss(message: str) -> bool:
    """Return whether a build that outlived its session failed because the session was gone."""
    return any(words in message for words in ("no active session", "context canceled", "healthcheck failed"))
