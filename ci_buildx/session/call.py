"""One gRPC call of a session, its status codes (grpc, ``doc/statuscodes.md``) and worker threads for slow calls."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from urllib.parse import quote_from_bytes

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.wire import hpack
from ci_buildx.wire.http2 import Http2Connection
from ci_buildx.wire.http2_streams import Http2Error, Http2Stream, Producer
from ci_buildx.wire.protobuf import Buffer


class GrpcStatus(IntEnum):
    """The outcome of a call."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13


_LOG = debug.get_log("session")
HEALTH = "/grpc.health.v1.Health/"
"""Prefix of the health checks, which come every few seconds and are left out of the debug log."""
LARGEST_MESSAGE = 16 << 20
"""Maximum bytes of a message of a call that ``is_bulk``: BuildKit 0.34.2 sends no larger ones (containerd
``defaults.DefaultMaxSendMsgSize``)."""
LARGEST_REQUEST = 128 << 10
"""Maximum bytes of a message of any other call; two of them fit into a small window."""
MOST_UNREAD = 16384
"""Maximum unread messages of one call: they can be so small that the window alone does not bound them."""
MOST_WAITING = 128
"""Maximum number of calls that wait for a thread: the maximum number of streams."""
MOST_UNSENT = 1 << 20
"""Maximum bytes of unsent responses when another response is added."""

_PREFIX = 5
_LONGEST_PATH = 200
"""Characters of a call's path that are kept: more than any method's, which an unknown one may exceed."""
_LONGEST_TEXT = 8 << 10
_RESPONSE = hpack.encode_headers([(b":status", b"200"), (b"content-type", b"application/grpc")])
_READABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class SessionCall:
    """One call. ``path`` is ``/service/Method``; ``metadata`` maps lower-case names to their values in order.

    The service sets ``on_message`` (a request message), ``on_end`` (no more messages), ``on_lost`` (the call is lost,
    with the reason; nothing can be sent any more) and, for bulk data, a ``producer`` of gRPC-framed messages. Callbacks
    run one at a time. All methods are thread-safe.
    """

    def __init__(self, connection: Http2Connection, stream: Http2Stream, *, lock: threading.Condition) -> None:
        self.path = ""
        self.metadata: dict[str, list[str]] = {}
        self.on_message: Callable[[bytes], None] = _ignore_event
        self.on_end: Callable[[], None] = _ignore_event
        self.on_lost: Callable[[str], None] = _ignore_event
        self.holds_credit = False
        """Whether the service itself calls :meth:`return_credit` to let the peer send more."""
        self.narrow = False
        """Whether to make the peer batch small messages: it may send about a hundred until we return window."""
        self.is_bulk = False
        """Whether messages may be large, with many of them in flight."""
        self._connection = connection
        self._stream = stream
        self._lock = lock
        self._input = bytearray()
        self._producer: Producer = _ignore_value
        self._answered = self._finished = False
        self._unread = 0
        self._began = time.monotonic()

    def read_headers(self, headers: list[hpack.Header]) -> None:
        """Read path and metadata from a request's headers."""
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode(errors="replace")
            if name == ":path":
                self.path = value[:_LONGEST_PATH]
            elif not name.startswith(":"):
                self.metadata.setdefault(name, []).append(value)

    @property
    def finished(self) -> bool:
        """Whether the call has its outcome or is lost."""
        return self._finished

    # --- towards buildkitd

    def send(self, message: Buffer) -> None:
        """Send one message; not for bulk data. The call fails if the peer leaves too many bytes unread."""
        with self._lock:
            if self._finished:
                return
            if self._stream.queued > MOST_UNSENT:
                self._stream.clear()
                self._refuse(GrpcStatus.RESOURCE_EXHAUSTED, f"more than {MOST_UNSENT} bytes of responses are unread")
                return
            self._answer()
            self._connection.send(self._stream, frame_message(message))
            self._lock.notify_all()

    def finish(self, status: GrpcStatus = GrpcStatus.OK, text: str = "") -> None:
        """End the call; ``text`` is the reason of a failure.

        Everything sent earlier arrives first. Later calls have no effect.
        """
        with self._lock:
            if self._finished:
                return
            self._finished = True
            self._stream.producer = None
            self._answer()
            self._connection.finish(self._stream, _make_trailers(status, text))
            self._lock.notify_all()
        self._log(status.name, text)

    def reply(self, message: Buffer) -> None:
        """Send one message and finish successfully: the response of a unary call."""
        with self._lock:
            self.send(message)
            self.finish()

    def produce(self, producer: Producer) -> None:
        """Pull bulk data from ``producer``, which may itself send messages and finish the call."""
        with self._lock:
            self._answer()
            self._producer = producer
            self._stream.producer = self._pull
            self.wake()

    def take_one(self, handle: Callable[[bytes], None]) -> None:
        """Pass the call's only message to ``handle``; a second message fails the call."""

        def take(message: bytes) -> None:
            self.on_message = _refuse_second
            handle(message)

        self.on_message = take

    def begin(self) -> None:
        """Release the metadata once the service has accepted the call; widen its window unless it is ``narrow``."""
        self.metadata = {}
        if not (self._finished or self.narrow):
            self._connection.widen(self._stream, wide=self.is_bulk)

    def wake(self) -> None:
        """Note that the producer may have data again."""
        with self._lock:
            self._connection.wake(self._stream)
            self._lock.notify_all()

    def pause(self, *, paused: bool) -> None:
        """Stop or resume granting window to the peer; a paused peer can use up its current window."""
        if self._stream.paused is not paused:
            with self._lock:
                self._connection.pause(self._stream, paused=paused)
                self._lock.notify_all()

    def return_credit(self, size: int) -> None:
        """Return the window of a ``size``-byte message that was processed. For calls with ``holds_credit``."""
        with self._lock:
            self._unread -= 1
            self._connection.consume(self._stream, size)
            self._lock.notify_all()

    def _pull(self, room: int) -> Buffer:
        made: list[Buffer] = []
        self.run(lambda: made.append(self._producer(room)))
        return made[0] if made else b""

    def _answer(self) -> None:
        if not self._answered:
            self._answered = True
            self._connection.send_headers(self._stream, _RESPONSE)

    # --- from the engine

    def run(self, callback: Callable[..., None], *arguments: object) -> None:
        """Run a service's code; its exceptions end only this call."""
        try:
            callback(*arguments)
        except Http2Error:
            raise
        except KubeBuilderError as error:
            self.finish(GrpcStatus.UNKNOWN, str(error))
        except ValueError as error:
            self.finish(GrpcStatus.INVALID_ARGUMENT, str(error))
        except Exception as error:  # the daemon reports it together with the failed step
            self.finish(GrpcStatus.INTERNAL, f"{self.path} failed: {type(error).__name__}: {error}")

    def receive(self, data: bytes) -> int:
        """Split the stream into messages; return the bytes of window that the engine can return to the peer."""
        if self._finished:
            return len(data)
        self._input += data
        for message in self._read_messages():
            if not self._finished:
                self._count_unread()
                self.run(self.on_message, message)
        return 0 if self.holds_credit else len(data)

    def end(self) -> None:
        """Handle the end of the peer's messages."""
        if not self._finished:
            self.run(self.on_end)

    def lose(self, reason: str) -> None:
        """Handle the loss of the stream."""
        lost, self._finished = not self._finished, True
        self._input = bytearray()
        if lost:
            self._log("lost", reason)
            self.run(self.on_lost, reason)

    def _log(self, outcome: str, text: str) -> None:
        if _LOG.is_on and not self.path.startswith(HEALTH):
            seconds, why = time.monotonic() - self._began, f": {text}" if text else ""
            _LOG.debug("%s: %s after %.3f s%s", self.path, outcome, seconds, why)

    def _refuse(self, status: GrpcStatus, text: str) -> None:
        """Fail the call because of its peer, and call ``on_lost`` as the service may be waiting."""
        if not self._finished:
            self.finish(status, text)
            self._input = bytearray()
            self.run(self.on_lost, text)

    def _count_unread(self) -> None:
        if self.holds_credit:
            self._unread += 1
            if self._unread > MOST_UNREAD:
                self._refuse(GrpcStatus.RESOURCE_EXHAUSTED, f"more than {MOST_UNREAD} messages wait to be read")

    def _read_messages(self) -> list[bytes]:
        messages = []
        position = 0
        largest = LARGEST_MESSAGE if self.is_bulk else LARGEST_REQUEST
        while len(self._input) - position >= _PREFIX and not self._finished:
            compressed = self._input[position]
            size = int.from_bytes(self._input[position + 1 : position + _PREFIX], "big")
            if compressed:
                self._refuse(GrpcStatus.UNIMPLEMENTED, "compressed messages are not supported")
            elif size > largest:
                self._refuse(GrpcStatus.RESOURCE_EXHAUSTED, f"message of {size} bytes is larger than {largest}")
            start, end = position + _PREFIX, position + _PREFIX + size
            if end > len(self._input) or self._finished:
                break
            messages.append(bytes(self._input[start:end]))
            position = end
        del self._input[:position]
        return messages


class Workers:
    """Threads for slow calls, at most ``limit`` at once; thread-safe.

    Further calls wait. With ``must_start``, for calls whose thread reads their messages, they are refused.
    """

    def __init__(self, name: str, *, limit: int, must_start: bool = False) -> None:
        self._name = name
        self._limit = limit
        self._must_start = must_start
        self._lock = threading.Lock()
        self._waiting: deque[tuple[SessionCall, Callable[[], None]]] = deque()
        self._busy = 0

    def submit(self, call: SessionCall, work: Callable[[], None]) -> None:
        """Run the work of a call in a thread; skip it if the call ends before its turn."""
        with self._lock:
            if self._busy < self._limit:
                self._busy += 1
                threading.Thread(target=self._run, args=(call, work), name=self._name, daemon=True).start()
                return
            if len(self._waiting) >= MOST_WAITING:
                self._waiting = deque(one for one in self._waiting if not one[0].finished)
            if not self._must_start and len(self._waiting) < MOST_WAITING:
                self._waiting.append((call, work))
                return
        call.finish(GrpcStatus.RESOURCE_EXHAUSTED, f"more than {self._limit} calls of {self._name} at once")

    def _run(self, call: SessionCall, work: Callable[[], None]) -> None:
        while True:
            if not call.finished:
                call.run(work)
            with self._lock:
                if not self._waiting:
                    self._busy -= 1
                    return
                call, work = self._waiting.popleft()


def frame_message(message: Buffer) -> bytes:
    """Prepend gRPC's prefix: the flag "uncompressed" and the length."""
    return b"".join((b"\x00", len(message).to_bytes(4, "big"), message))


def _make_trailers(status: GrpcStatus, text: str) -> bytes:
    headers = [(b"grpc-status", str(int(status)).encode())]
    if text:
        text = text[:_LONGEST_TEXT]
        headers.append((b"grpc-message", quote_from_bytes(text.encode(errors="replace"), safe=_READABLE).encode()))
    return hpack.encode_headers(headers)


def _ignore_event(*_: object) -> None:
    """Do nothing: the default callback."""


def _refuse_second(_: bytes) -> None:
    raise ValueError("a second message in a call that takes one")


def _ignore_value(_: int) -> Buffer:
    return b""
