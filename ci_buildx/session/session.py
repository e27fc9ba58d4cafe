"""The session of one build: buildkitd's calls over HTTP/2, and the health service.

Without answers of ``grpc.health.v1.Health`` buildkitd ends a session after about ten seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from urllib.parse import quote_plus

from ci_buildx.model import debug
from ci_buildx.session.call import HEALTH, GrpcStatus, SessionCall
from ci_buildx.wire import protobuf
from ci_buildx.wire.hpack import Header
from ci_buildx.wire.http2 import Http2Connection
from ci_buildx.wire.http2_streams import Http2Error, Http2Stream

_STATUS_FIELD, _SERVING = 1, 1
_RESPONSE = protobuf.encode_key(_STATUS_FIELD, protobuf.VARINT) + protobuf.encode_varint(_SERVING)


class HealthService:
    """Always reports SERVING: a session that can answer is healthy."""

    methods = ("/grpc.health.v1.Health/Check",)

    def accept(self, call: SessionCall) -> None:
        """Answer a health check."""
        call.take_one(lambda _: call.reply(_RESPONSE))


_LOG = debug.get_log("session")
BATCH = 256 << 10
"""Approximate bytes in one message to buildkitd."""

PATIENCE = 180.0
"""Seconds without a packet after which a connection is dropped: an outage of 60 s, plus as much for TCP
retransmission."""
PING_INTERVAL = 3.0
"""Seconds of silence from buildkitd after which the session sends a PING."""

_EXPOSE = "x-docker-expose-session-"
_HEALTH_TIMEOUT = "x-buildkit-session-health-custom-timeout"
"""Milliseconds between two health checks, and for the response to one (BuildKit 0.34.2, ``session/grpc.go``)."""
_DATA_FIELD = 1
_SMALL_WAIT = 0.05


class Attachable(Protocol):
    """A service that buildkitd may call."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The paths (``/service/Method``) of its calls."""

    def accept(self, call: SessionCall) -> None:
        """Accept a call: set its callbacks or finish it. Must not block."""


class BuildSession:
    """One session. ``failure`` is the reason if the session broke, else "".

    ``shared_key`` (see :mod:`ci_buildx.buildkit.solve_request`) selects the earlier context that buildkitd compares
    with. One thread iterates over :meth:`take_outgoing`, another passes buildkitd's messages to :meth:`take_incoming`.
    """

    def __init__(
        self,
        attachables: Sequence[Attachable],
        *,
        shared_key: str,
        id: str = "",  # noqa: A002
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id or os.urandom(16).hex()
        self.failure = ""
        self._shared_key = shared_key
        everything: tuple[Attachable, ...] = (*attachables, HealthService())
        self._services = {method: attachable for attachable in everything for method in attachable.methods}
        self._changed = threading.Condition()
        self._connection = Http2Connection(self._accept)
        self._closed = False
        self._clock = clock
        self._heard = clock()
        self._pinged = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the ``Session`` call, which describe the session to buildkitd."""
        key = self._shared_key
        pairs = [(_EXPOSE + "uuid", self.id)]
        if key.isascii() and key.isprintable():
            pairs.append((_EXPOSE + "sharedkey", key))
        else:
            pairs += [(_EXPOSE + "sharedkey", quote_plus(key)), (_EXPOSE + "sharedkey-encoded", "1")]
        pairs += [(_EXPOSE + "grpc-method", method) for method in self._services]
        pairs.append((_HEALTH_TIMEOUT, str(int(PATIENCE * 1000))))
        return tuple(pairs)

    @property
    def silence(self) -> float:
        """Seconds since the last bytes from buildkitd.

        A live buildkitd answers pings, so this stays near ``PING_INTERVAL``.
        """
        return self._clock() - self._heard

    def take_outgoing(self) -> Iterator[bytes]:
        """Yield serialized ``BytesMessage``s for buildkitd; blocks until there is data, ends once closed."""
        self._heard = self._clock()
        while True:
            with self._changed:
                self._ping_if_silent()
                parts = self._connection.pump(BATCH)
                while not parts and not self._closed:
                    # Data held back for lack of room is sent anyway if the peer does not widen the window soon.
                    held = self._connection.held
                    moved = self._changed.wait(_SMALL_WAIT if held else PING_INTERVAL)
                    self._ping_if_silent()
                    parts = self._connection.pump(BATCH, small=held and not moved)
            if not parts:
                return
            size = sum(map(len, parts))
            head = protobuf.encode_key(_DATA_FIELD, protobuf.LENGTH_DELIMITED) + protobuf.encode_varint(size)
            yield b"".join((head, *parts))

    def take_incoming(self, message: bytes) -> None:
        """Process a serialized ``BytesMessage``. A protocol violation ends the session with a ``failure``."""
        with self._changed:
            if self._closed:
                return
            self._heard, self._pinged = self._clock(), False
            try:
                for number, _, value in protobuf.read_fields(message):
                    if number == _DATA_FIELD and isinstance(value, bytes):
                        self._connection.feed(value)
            except (Http2Error, ValueError) as error:
                self.failure = f"buildkitd broke the session's protocol: {error}"
                self.close()
            if self._connection.ready:  # while the window is full of requested files, requests come one by one
                self._changed.notify_all()

    def close(self) -> None:
        """End every call and :meth:`take_outgoing`. Idempotent."""
        with self._changed:
            self._connection.close(self.failure or "the session was closed")
            if not self._closed:
                _LOG.debug("session %s is closed%s%s", self.id, ": " if self.failure else "", self.failure)
            self._closed = True
            self._changed.notify_all()

    def _ping_if_silent(self) -> None:
        """Send a PING after a silence, one at a time: TCP retransmits it until it arrives."""
        if not self._pinged and self.silence >= PING_INTERVAL:
            self._pinged = True
            self._connection.ping()

    def _accept(self, stream: Http2Stream, headers: list[Header]) -> None:
        call = SessionCall(self._connection, stream, lock=self._changed)
        call.read_headers(headers)
        stream.receiver = call
        service = self._services.get(call.path)
        if _LOG.is_on and not call.path.startswith(HEALTH):
            _LOG.debug("buildkitd calls %s", call.path)
        if service is None:
            call.finish(GrpcStatus.UNIMPLEMENTED, f"unknown method {call.path}")
        else:
            call.run(service.accept, call)
        call.begin()
