"""What a connection sends: frames about the connection first, then the streams' data, as far as windows reach."""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.protobuf.wire import Buffer
from ci_buildx.session import frames
from ci_buildx.session.frames import Code, ProtocolError, Type
from ci_buildx.session.stream import Stream

CRUMB = 8 << 10
"""Below so much room nothing is sent of a stream that has more: grpc-go answers crumbs with more crumbs."""

_FIRST = 8 << 10
"""What a producer may send at first; then each time twice as much. A peer that has something to do early is done
earlier, and it takes 20 ms to walk through 5,000 files."""
_MOST_ANSWERS = 4096


class Outbox:
    """``room`` is the connection's window, ``frame_size`` the largest frame that the peer takes.

    ``ended`` is called with each stream whose trailers have been sent; ``held`` says whether the last :meth:`pump`
    held crumbs back.
    """

    def __init__(self, ended: Callable[[Stream], None]) -> None:
        self._ended = ended
        self.room = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        self.held = False
        self._control: list[bytes] = []
        self._answers = 0
        self._active: dict[int, Stream] = {}

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
            raise ProtocolError("too many frames that want an answer", Code.ENHANCE_YOUR_CALM)

    def wake(self, stream: Stream) -> None:
        """Let the stream have its turn."""
        self._active[stream.id] = stream

    def drop(self, stream: Stream) -> None:
        """Forget what the stream has not sent yet."""
        self._active.pop(stream.id, None)
        stream.clear()

    def pump(self, limit: int, *, crumbs: bool) -> list[Buffer]:
        """See :meth:`ci_buildx.session.http2.Connection.pump`."""
        out: list[Buffer] = list(self._control)
        self._control.clear()
        self._answers = 0
        self.held = False
        for stream in list(self._active.values()):
            limit -= self._pump_stream(stream, limit, crumbs, out)
            if limit <= 0:
                break
        return out

    def _pump_stream(self, stream: Stream, limit: int, crumbs: bool, out: list[Buffer]) -> int:
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
            flags = frames.END_HEADERS | frames.END_STREAM
            out.append(frames.frame(Type.HEADERS, flags, stream.id, stream.trailers))
            self.drop(stream)
            self._ended(stream)
        return sent

    @staticmethod
    def _has_more(stream: Stream, room: int) -> bool:
        return stream.producer is not None or stream.queued > room

    def _frame_data(self, stream: int, data: Buffer, out: list[Buffer]) -> None:
        if len(data) <= self.frame_size:
            out += (frames.header(Type.DATA, 0, stream, len(data)), data)
            return
        view = memoryview(data)
        for start in range(0, len(data), self.frame_size):
            part = view[start : start + self.frame_size]
            out += (frames.header(Type.DATA, 0, stream, len(part)), part)
