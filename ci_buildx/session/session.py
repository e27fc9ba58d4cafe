"""The session: one HTTP/2 connection inside a byte stream, on which buildkitd is the client.

Source: BuildKit 0.34.2, ``session/session.go`` (metadata), ``session/grpchijack`` (the stream of bytes),
``session/grpc.go`` (the daemon asks for health every 5 s and ends a session that does not answer twice within
15 s, unless the session's metadata names a time of its own).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from urllib.parse import quote_plus

from ci_buildx.model import debug
from ci_buildx.protobuf import wire
from ci_buildx.session.call import HEALTH, Call
from ci_buildx.session.frames import ProtocolError
from ci_buildx.session.health import Health
from ci_buildx.session.hpack import Header
from ci_buildx.session.http2 import Connection
from ci_buildx.session.status import Status
from ci_buildx.session.stream import Stream

_LOG = debug.get_log("session")
BATCH = 256 << 10
"""Bytes in one message to buildkitd, about."""

PATIENCE = 180.0
"""Seconds without a packet after which a connection is given up: a cut of 60 s, and as much again until TCP repeats."""
PING_INTERVAL = 3.0
"""Seconds of buildkitd's silence after which the session asks for a sign of life."""

_EXPOSE = "x-docker-expose-session-"
_HEALTH_TIMEOUT = "x-buildkit-session-health-custom-timeout"
"""Milliseconds between two health checks, and for the answer to one (BuildKit 0.34.2, ``session/grpc.go``)."""
_DATA_FIELD = 1
_CRUMB_WAIT = 0.05


class Attachable(Protocol):
    """A service that buildkitd may call."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The paths, ``/service/Method``, of its calls."""

    def accept(self, call: Call) -> None:
        """Take a call: set its callbacks, or finish it. Must not wait."""


class Session:
    """``shared_key`` (see :mod:`ci_buildx.buildkit.request`) tells buildkitd which earlier context to compare with.

    One thread runs through :meth:`outgoing`, another hands to :meth:`incoming` what buildkitd sends. ``failure``
    says why the session broke, "" while it has not.
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
        everything: tuple[Attachable, ...] = (*attachables, Health())
        self._services = {method: attachable for attachable in everything for method in attachable.methods}
        self._changed = threading.Condition()
        self._connection = Connection(self._accept)
        self._closed = False
        self._clock = clock
        self._heard = clock()
        self._pinged = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the ``Session`` call, in which it introduces itself."""
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
        """Seconds since buildkitd was last heard. A live one answers a ping, so this stays near ``PING_INTERVAL``."""
        return self._clock() - self._heard

    def outgoing(self) -> Iterator[bytes]:
        """Serialized ``BytesMessage``s for buildkitd: blocks until there is something, ends once closed."""
        self._heard = self._clock()
        while True:
            with self._changed:
                self._ping_if_silent()
                parts = self._connection.pump(BATCH)
                while not parts and not self._closed:
                    # Crumbs that were held back are sent after all if the peer does not widen the window soon.
                    held = self._connection.held
                    moved = self._changed.wait(_CRUMB_WAIT if held else PING_INTERVAL)
                    self._ping_if_silent()
                    parts = self._connection.pump(BATCH, crumbs=held and not moved)
            if not parts:
                return
            size = sum(map(len, parts))
            head = wire.key(_DATA_FIELD, wire.LENGTH_DELIMITED) + wire.varint(size)
            yield b"".join((head, *parts))

    def incoming(self, message: bytes) -> None:
        """Take a serialized ``BytesMessage``. A peer that breaks the protocol ends the session with a ``failure``."""
        with self._changed:
            if self._closed:
                return
            self._heard, self._pinged = self._clock(), False
            try:
                for number, _, value in wire.fields(message):
                    if number == _DATA_FIELD and isinstance(value, bytes):
                        self._connection.feed(value)
            except (ProtocolError, ValueError) as error:
                self.failure = f"buildkitd broke the session's protocol: {error}"
                self.close()
            if self._connection.ready:  # requests come one by one while the window is full of what they ask for
                self._changed.notify_all()

    def close(self) -> None:
        """End every call and :meth:`outgoing`. Idempotent."""
        with self._changed:
            self._connection.close(self.failure or "the session was closed")
            if not self._closed:
                _LOG.debug("session %s is closed%s%s", self.id, ": " if self.failure else "", self.failure)
            self._closed = True
            self._changed.notify_all()

    def _ping_if_silent(self) -> None:
        """One ping at a time: TCP repeats it until it arrives."""
        if not self._pinged and self.silence >= PING_INTERVAL:
            self._pinged = True
            self._connection.ping()

    def _accept(self, stream: Stream, headers: list[Header]) -> None:
        call = Call(self._connection, stream, lock=self._changed)
        call.read_headers(headers)
        stream.receiver = call
        service = self._services.get(call.path)
        if _LOG.is_on and not call.path.startswith(HEALTH):
            _LOG.debug("buildkitd calls %s", call.path)
        if service is None:
            call.finish(Status.UNIMPLEMENTED, f"unknown method {call.path[:200]}")
        else:
            call.run(service.accept, call)
        call.begin()
