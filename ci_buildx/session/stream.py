"""One HTTP/2 stream as its server sees it: what came in is handed on, what goes out waits to be pulled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ci_buildx.protobuf.wire import Buffer

Producer = Callable[[int], Buffer]
"""Called with the room in bytes, returns about that much, or b"" for "nothing now"."""


class Receiver(Protocol):
    """Who gets what the peer sends on a stream."""

    def receive(self, data: bytes) -> int:
        """Take bytes; returns how many of the window may be given back at once."""

    def end(self) -> None:
        """The peer will send no more."""

    def lose(self, reason: str) -> None:
        """The stream is gone: cancelled by the peer or lost with the connection."""


class Stream:
    """Send side: ``queue`` goes first, then what ``producer`` makes, then ``trailers``, which end the stream."""

    __slots__ = (
        "credit",
        "id",
        "paused",
        "producer",
        "queue",
        "queued",
        "receivable",
        "receiver",
        "remote_ended",
        "room",
        "sent",
        "trailers",
        "window",
    )

    def __init__(self, id: int, *, room: int, receivable: int) -> None:  # noqa: A002 - the RFC's name
        self.id = id
        self.room = room
        self.sent = 0
        self.receivable = self.window = receivable
        self.credit = 0
        self.paused = False
        self.receiver: Receiver | None = None
        self.queue: deque[Buffer] = deque()
        self.queued = 0
        self.producer: Producer | None = None
        self.trailers: bytes | None = None
        self.remote_ended = False

    def enqueue(self, data: Buffer) -> None:
        """Add bytes to send before anything the producer makes."""
        self.queue.append(data)
        self.queued += len(data)

    def clear(self) -> None:
        """Forget all that has not been taken."""
        self.producer = None
        self.queue.clear()
        self.queued = 0

    def take(self, room: int) -> Buffer:
        """At most ``room`` bytes to send now; b"" where there are none."""
        if not self.queue:
            made = self.producer(room) if self.producer is not None else b""
            if made:
                self.enqueue(made)
        if not self.queue:
            return b""
        data = b"".join(self.queue) if len(self.queue) > 1 else self.queue[0]
        self.queue.clear()
        self.queued = 0
        if len(data) > room:
            view = memoryview(data)
            self.enqueue(view[room:])
            return view[:room]
        return data
