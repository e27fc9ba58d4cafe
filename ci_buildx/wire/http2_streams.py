"""HTTP/2 streams as a server sees them, and the order in which their frames are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ci_buildx.wire import http2_frames
from ci_buildx.wire.http2_frames import ErrorCode, FrameType, Http2Error
from ci_buildx.wire.protobuf import Buffer

Producer = Callable[[int], Buffer]
"""Called with the room in bytes, returns about that much, or b"" for "nothing now"."""


class StreamReceiver(Protocol):
    """Who gets what the peer sends on a stream."""

    def receive(self, data: bytes) -> int:
        """Take bytes; returns how many of the window may be given back at once."""

    def end(self) -> None:
        """The peer will send no more."""

    def lose(self, reason: str) -> None:
        """The stream is gone: cancelled by the peer or lost with the connection."""


class Http2Stream:
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
        self.receiver: StreamReceiver | None = None
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


CRUMB = 8 << 10
"""Below so much room nothing is sent of a stream that has more: grpc-go answers crumbs with more crumbs."""

_FIRST = 8 << 10
"""What a producer may send at first; then each time twice as much. A peer that has something to do early is done
earlier, and it takes 20 ms to walk through 5,000 files."""
_MOST_ANSWERS = 4096


class FrameOutbox:
    """``room`` is the connection's window, ``frame_size`` the largest frame that the peer takes.

    ``ended`` is called with each stream whose trailers have been sent; ``held`` says whether the last :meth:`pump`
    held crumbs back.
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
        """Whether :meth:`pump` has anything to try."""
        return bool(self._control) or any(
            (self.room > 0 and stream.room > 0) or not (stream.queue or stream.producer)
            for stream in self._active.values()
        )

    def put(self, frame: bytes) -> None:
        """Queue a frame that is no data."""
        self._control.append(frame)

    def answer(self, frame: bytes) -> None:
        """Queue a frame that the peer can make us send. ProtocolError as of :meth:`owe`."""
        self.owe()
        self.put(frame)

    def owe(self) -> None:
        """Count something that the peer made us queue: so many of them, unread, are an attack or a bug."""
        self._answers += 1
        if self._answers > _MOST_ANSWERS:
            raise Http2Error("too many frames that want an answer", ErrorCode.ENHANCE_YOUR_CALM)

    def wake(self, stream: Http2Stream) -> None:
        """Let the stream have its turn."""
        self._active[stream.id] = stream

    def drop(self, stream: Http2Stream) -> None:
        """Forget what the stream has not sent yet."""
        self._active.pop(stream.id, None)
        stream.clear()

    def pump(self, limit: int, *, crumbs: bool) -> list[Buffer]:
        """See :meth:`ci_buildx.wire.http2.Http2Connection.pump`."""
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
        """Send of one stream; afterwards it stands last in turn, or out of it if it has nothing now."""
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
