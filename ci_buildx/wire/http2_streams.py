"""HTTP/2 streams of a server, and the scheduling of their outgoing frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ci_buildx.wire import http2_frames
from ci_buildx.wire.http2_frames import ErrorCode, FrameType, Http2Error
from ci_buildx.wire.protobuf import Buffer

Producer = Callable[[int], Buffer]
"""Called with the room in bytes; returns about that many bytes, or b"" if nothing is available now."""


class StreamReceiver(Protocol):
    """The consumer of a stream's incoming data."""

    def receive(self, data: bytes) -> int:
        """Process bytes; return how many bytes of window can be returned to the peer at once."""

    def end(self) -> None:
        """Handle the end of the peer's data."""

    def lose(self, reason: str) -> None:
        """Handle the loss of the stream: the peer cancelled it or the connection ended."""


class Http2Stream:
    """One stream. Sends ``queue`` first, then the output of ``producer``, then ``trailers``, which end the stream."""

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
        self.receiver: StreamReceiver | None = None
        self.queue: deque[Buffer] = deque()
        self.queued = 0
        self.producer: Producer | None = None
        self.trailers: bytes | None = None
        self.remote_ended = False

    def enqueue(self, data: Buffer) -> None:
        """Queue bytes to send before any of the producer's output."""
        self.queue.append(data)
        self.queued += len(data)

    def clear(self) -> None:
        """Drop all unsent data."""
        self.producer = None
        self.queue.clear()
        self.queued = 0

    def take(self, room: int) -> Buffer:
        """Return at most ``room`` bytes to send now; b"" if there are none."""
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


CRUMB = 8 << 10
"""Bytes of room below which a stream with more data sends nothing: grpc-go answers tiny frames with tiny window
updates."""

_FIRST = 8 << 10
"""Bytes that a producer may send at first; the limit doubles with each turn.

A peer that can start working early finishes earlier, and walking through 5,000 files takes 20 ms."""
_MOST_ANSWERS = 4096


class FrameOutbox:
    """The queue of outgoing frames. ``room`` is the connection's window, ``frame_size`` the peer's largest frame.

    ``ended`` is called with each stream whose trailers have been sent. ``held`` is True if the last :meth:`pump` held
    back data for lack of room.
    """

    def __init__(self, ended: Callable[[Http2Stream], None]) -> None:
        self._ended = ended
        self.room = http2_frames.DEFAULT_WINDOW
        self.frame_size = http2_frames.DEFAULT_FRAME_SIZE
        self.held = False
        self._control: list[bytes] = []
        self._answers = 0
        self._active: dict[int, Http2Stream] = {}

    @property
    def ready(self) -> bool:
        """Whether :meth:`pump` may have frames to send."""
        return bool(self._control) or any(
            (self.room > 0 and stream.room > 0) or not (stream.queue or stream.producer)
            for stream in self._active.values()
        )

    def put(self, frame: bytes) -> None:
        """Queue a non-DATA frame."""
        self._control.append(frame)

    def answer(self, frame: bytes) -> None:
        """Queue a frame that the peer can make us send. Raises Http2Error like :meth:`owe`."""
        self.owe()
        self.put(frame)

    def owe(self) -> None:
        """Count a frame that the peer made us queue.

        Raises Http2Error if too many are unsent, which means an attack or a bug.
        """
        self._answers += 1
        if self._answers > _MOST_ANSWERS:
            raise Http2Error("too many frames that want an answer", ErrorCode.ENHANCE_YOUR_CALM)

    def wake(self, stream: Http2Stream) -> None:
        """Schedule the stream."""
        self._active[stream.id] = stream

    def drop(self, stream: Http2Stream) -> None:
        """Drop the stream's unsent data."""
        self._active.pop(stream.id, None)
        stream.clear()

    def pump(self, limit: int, *, crumbs: bool) -> list[Buffer]:
        """Return the frames to send; see :meth:`ci_buildx.wire.http2.Http2Connection.pump`."""
        out: list[Buffer] = list(self._control)
        self._control.clear()
        self._answers = 0
        self.held = False
        for stream in list(self._active.values()):
            limit -= self._pump_stream(stream, limit, crumbs, out)
            if limit <= 0:
                break
        return out

    def _pump_stream(self, stream: Http2Stream, limit: int, crumbs: bool, out: list[Buffer]) -> int:
        """Send data of one stream and return its size.

        Afterwards the stream is last in turn, or unscheduled if it has nothing to send now.
        """
        self._active.pop(stream.id, None)
        sent = 0
        if stream.producer is not None:
            limit = min(limit, max(_FIRST, stream.sent))
        while stream.queue or stream.producer is not None:
            room = min(self.room, stream.room, limit - sent)
            if room <= 0 or (room < CRUMB and not crumbs and self._has_more(stream, room)):
                self._active[stream.id] = stream
                self.held = self.held or room > 0
                return sent
            data = stream.take(room)
            if self._control:  # a producer may have sent headers
                out += self._control
                self._control.clear()
            if not data:
                break
            self._frame_data(stream.id, data, out)
            sent += len(data)
            self.room -= len(data)
            stream.room -= len(data)
            stream.sent += len(data)
        if stream.trailers is not None and not stream.queue:
            flags = http2_frames.END_HEADERS | http2_frames.END_STREAM
            out.append(http2_frames.encode_frame(FrameType.HEADERS, flags, stream.id, stream.trailers))
            self.drop(stream)
            self._ended(stream)
        return sent

    @staticmethod
    def _has_more(stream: Http2Stream, room: int) -> bool:
        return stream.producer is not None or stream.queued > room

    def _frame_data(self, stream: int, data: Buffer, out: list[Buffer]) -> None:
        if len(data) <= self.frame_size:
            out += (http2_frames.encode_header(FrameType.DATA, 0, stream, len(data)), data)
            return
        view = memoryview(data)
        for start in range(0, len(data), self.frame_size):
            part = view[start : start + self.frame_size]
            out += (http2_frames.encode_header(FrameType.DATA, 0, stream, len(part)), part)
