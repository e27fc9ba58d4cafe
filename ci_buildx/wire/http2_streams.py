"""HTTP/2 frames, streams of a server, and the scheduling of their outgoing frames."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from ci_buildx.wire.protobuf import Buffer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
LARGEST_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65535
DEFAULT_FRAME_SIZE = 16384
LARGEST_FRAME_SIZE = (1 << 24) - 1

_HEADER = struct.Struct(">IBI")
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_PRIORITY_SIZE = 5


class FrameType(IntEnum):
    """The type of a frame."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ConnectionSetting(IntEnum):
    """The settings that we send or honor."""

    HEADER_TABLE_SIZE = 1
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """The reason in RST_STREAM and GOAWAY."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Http2Error(Exception):
    """The peer violated HTTP/2, so the connection must end. ``code`` goes into the GOAWAY."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


def encode_header(type_: FrameType, flags: int, stream: int, size: int) -> bytes:
    """Encode the nine bytes before a payload of ``size`` bytes."""
    return _HEADER.pack(size << 8 | type_, flags, stream)


def parse_header(buffer: Buffer, position: int) -> tuple[int, int, int, int]:
    """Return payload size, type, flags and stream of the frame that begins at ``position``."""
    size_and_type, flags, stream = _HEADER.unpack_from(buffer, position)
    return size_and_type >> 8, size_and_type & 0xFF, flags, stream & LARGEST_WINDOW


def encode_frame(type_: FrameType, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode a whole frame."""
    return encode_header(type_, flags, stream, len(payload)) + payload


def encode_settings(values: dict[ConnectionSetting, int]) -> bytes:
    """Encode a SETTINGS frame."""
    payload = b"".join(_SETTING.pack(setting, value) for setting, value in values.items())
    return encode_frame(FrameType.SETTINGS, 0, 0, payload)


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return each (setting, value) in order. Raises Http2Error for an invalid size."""
    if len(payload) % _SETTING.size:
        raise Http2Error("SETTINGS of an invalid size", ErrorCode.FRAME_SIZE_ERROR)
    return list(_SETTING.iter_unpack(payload))


def encode_window_update(stream: int, increment: int) -> bytes:
    """Encode a WINDOW_UPDATE frame; stream 0 is the connection."""
    return encode_frame(FrameType.WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def encode_rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Encode a RST_STREAM frame."""
    return encode_frame(FrameType.RST_STREAM, 0, stream, _WORD.pack(code))


def encode_goaway(last_stream: int, code: ErrorCode, reason: str) -> bytes:
    """Encode a GOAWAY frame with ``reason`` as debug data."""
    return encode_frame(FrameType.GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + reason.encode())


def read_word(payload: bytes) -> int:
    """Return the 32-bit number that is the whole payload of RST_STREAM and WINDOW_UPDATE.

    Raises Http2Error for an invalid size.
    """
    if len(payload) != _WORD.size:
        raise Http2Error("RST_STREAM or WINDOW_UPDATE of an invalid size", ErrorCode.FRAME_SIZE_ERROR)
    return int(_WORD.unpack(payload)[0])


def remove_padding(payload: bytes, flags: int) -> bytes:
    """Return the payload of DATA or HEADERS without its padding. Raises Http2Error for invalid padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error("padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def read_header_fragment(payload: bytes, flags: int) -> bytes:
    """Return the header block fragment of a HEADERS frame, without padding and priority. Raises Http2Error."""
    fragment = remove_padding(payload, flags)
    if not flags & PRIORITY:
        return fragment
    if len(fragment) < _PRIORITY_SIZE:
        raise Http2Error("HEADERS too short for its priority", ErrorCode.FRAME_SIZE_ERROR)
    return fragment[_PRIORITY_SIZE:]


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


SMALLEST = 8 << 10
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
        self.room = DEFAULT_WINDOW
        self.frame_size = DEFAULT_FRAME_SIZE
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
            raise Http2Error("too many frames that require a response", ErrorCode.ENHANCE_YOUR_CALM)

    def wake(self, stream: Http2Stream) -> None:
        """Schedule the stream."""
        self._active[stream.id] = stream

    def drop(self, stream: Http2Stream) -> None:
        """Drop the stream's unsent data."""
        self._active.pop(stream.id, None)
        stream.clear()

    def pump(self, limit: int, *, small: bool) -> list[Buffer]:
        """Return the frames to send; see :meth:`ci_buildx.wire.http2.Http2Connection.pump`."""
        out: list[Buffer] = list(self._control)
        self._control.clear()
        self._answers = 0
        self.held = False
        for stream in list(self._active.values()):
            limit -= self._pump_stream(stream, limit, small, out)
            if limit < SMALLEST:  # the next stream would be held back, and be last again
                break
        return out

    def _pump_stream(self, stream: Http2Stream, limit: int, small: bool, out: list[Buffer]) -> int:
        """Send data of one stream and return its size.

        Afterwards the stream is last in turn, or unscheduled if it has nothing to send now.
        """
        self._active.pop(stream.id, None)
        sent = 0
        if stream.producer is not None:
            limit = min(limit, max(_FIRST, stream.sent))
        while stream.queue or stream.producer is not None:
            room = min(self.room, stream.room, limit - sent)
            if room <= 0 or (room < SMALLEST and not small and self._has_more(stream, room)):
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
            flags = END_HEADERS | END_STREAM
            out.append(encode_frame(FrameType.HEADERS, flags, stream.id, stream.trailers))
            self.drop(stream)
            self._ended(stream)
        return sent

    @staticmethod
    def _has_more(stream: Http2Stream, room: int) -> bool:
        return stream.producer is not None or stream.queued > room

    def _frame_data(self, stream: int, data: Buffer, out: list[Buffer]) -> None:
        if len(data) <= self.frame_size:
            out += (encode_header(FrameType.DATA, 0, stream, len(data)), data)
            return
        view = memoryview(data)
        for start in range(0, len(data), self.frame_size):
            part = view[start : start + self.frame_size]
            out += (encode_header(FrameType.DATA, 0, stream, len(part)), part)
