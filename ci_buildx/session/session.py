"""The session: one HTTP/2 connection inside a byte stream, on which buildkitd is the client.

Source: BuildKit 0.34.2, ``session/session.go`` (metadata), ``session/grpchijack`` (the stream of bytes),
``session/grpc.go`` (the daemon asks for health every 5 s and ends a session that does not answer).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol
from urllib.parse import quote_plus

from ci_buildx.protobuf import wire
from ci_buildx.session.call import Call
from ci_buildx.session.frames import ProtocolError
from ci_buildx.session.health import Health
from ci_buildx.session.hpack import Header
from ci_buildx.session.http2 import Connection
from ci_buildx.session.status import Status
from ci_buildx.session.stream import Stream

BATCH = 256 << 10
"""Bytes in one message to buildkitd, about."""

_EXPOSE = "x-docker-expose-session-"
_DATA_FIELD = 1
_PATIENCE = 0.05


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

    def __init__(self, attachables: Sequence[Attachable], *, shared_key: str, id: str = "") -> None:  # noqa: A002
        self.id = id or os.urandom(16).hex()
        self.failure = ""
        self._shared_key = shared_key
        everything: tuple[Attachable, ...] = (*attachables, Health())
        self._services = {method: attachable for attachable in everything for method in attachable.methods}
        self._changed = threading.Condition()
        self._connection = Connection(self._accept)
        self._closed = False

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
        return tuple(pairs)

    def outgoing(self) -> Iterator[bytes]:
        """Serialized ``BytesMessage``s for buildkitd: blocks until there is something, ends once closed."""
        while True:
            with self._changed:
                parts = self._connection.pump(BATCH)
                while not parts and not self._closed:
                    # Crumbs that were held back are sent after all if the peer does not widen the window soon.
                    held = self._connection.held
                    moved = self._changed.wait(_PATIENCE if held else None)
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
            self._closed = True
            self._changed.notify_all()

    def _accept(self, stream: Stream, headers: list[Header]) -> None:
        call = Call(self._connection, stream, lock=self._changed)
        call.read_headers(headers)
        stream.receiver = call
        service = self._services.get(call.path)
        if service is None:
            call.finish(Status.UNIMPLEMENTED, f"unknown method {call.path}")
        else:
            call.run(service.accept, call)
            call.widen()
