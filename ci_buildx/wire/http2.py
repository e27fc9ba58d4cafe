"""The server half of one HTTP/2 connection (RFC 9113), without I/O: bytes in, bytes out.

:meth:`Http2Connection.feed` takes the peer's bytes, :meth:`Http2Connection.pump` returns the bytes that may be sent
now. Data is pulled from a stream's producer only if both windows have room, so nothing queues up here: backpressure
reaches from the peer's windows to the files on disk. Everything that the peer can make grow is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.wire import hpack, http2_streams
from ci_buildx.wire.http2_streams import ConnectionSetting, ErrorCode, FrameOutbox, FrameType, Http2Error, Http2Stream
from ci_buildx.wire.protobuf import Buffer

WIDE_WINDOW = (16 << 20) + 65536
"""Unconsumed bytes that a peer may send on a wide stream: BuildKit's largest message fits."""
SMALL_WINDOW = 256 << 10
"""Unconsumed bytes that a peer may send on a stream of small messages."""
FIRST_WINDOW = 8192
"""Unconsumed bytes that a peer may send on a stream that has not been widened: 800 requests for files."""
MAX_STREAMS = 128
MOST_WIDE = 4
"""Maximum number of wide streams; others wait with a small window. Unread bytes take 96 MiB at most."""
LARGEST_HEADERS = 4 << 20
"""Maximum bytes of one call's headers, compressed or not, plus 32 per header (RFC 9113, 6.5.2)."""

Accept = Callable[[Http2Stream, list[hpack.Header]], None]


class Http2Connection:
    """One connection. ``accept`` is called with each new stream and its headers, and sets the stream's receiver."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._input = bytearray()
        self._expects_preface = True
        self._expects_settings = True
        self._decoder = hpack.HpackDecoder(largest=LARGEST_HEADERS)
        self._block: tuple[int, bool, bytearray] | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._last = 0
        self._wide: set[int] = set()
        self._to_widen: dict[int, Http2Stream] = {}
        self._peer_window = http2_streams.DEFAULT_WINDOW
        self._received = 0
        self._over = False
        self._outbox = FrameOutbox(self._forget)
        self._outbox.put(self._make_greeting())

    @property
    def ready(self) -> bool:
        """Whether :meth:`pump` may have bytes to send."""
        return self._outbox.ready

    @property
    def held(self) -> bool:
        """Whether the last pump held back data because the window had too little room."""
        return self._outbox.held

    @staticmethod
    def _make_greeting() -> bytes:
        settings = {
            ConnectionSetting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            ConnectionSetting.INITIAL_WINDOW_SIZE: FIRST_WINDOW,
            ConnectionSetting.MAX_HEADER_LIST_SIZE: LARGEST_HEADERS,
        }
        grown = http2_streams.encode_window_update(0, http2_streams.LARGEST_WINDOW - http2_streams.DEFAULT_WINDOW)
        return http2_streams.encode_settings(settings) + grown

    # --- input

    def feed(self, data: Buffer) -> None:
        """Process bytes from the peer.

        Raises Http2Error if they violate the protocol; a GOAWAY is then ready to be sent.
        """
        if self._over:
            return
        self._input += data
        try:
            self._read()
        except Http2Error as error:
            self.close(str(error), error.code)
            raise

    def _read(self) -> None:
        if self._expects_preface and not self._take_preface():
            return
        position = 0
        with memoryview(self._input) as view:
            while len(view) - position >= http2_streams.HEADER_SIZE and not self._over:
                size, type_, flags, stream = http2_streams.parse_header(view, position)
                if size > http2_streams.DEFAULT_FRAME_SIZE:
                    raise Http2Error(f"frame of {size} bytes", ErrorCode.FRAME_SIZE_ERROR)
                start, end = position + http2_streams.HEADER_SIZE, position + http2_streams.HEADER_SIZE + size
                if end > len(view):
                    break
                self._on_frame(type_, flags, stream, bytes(view[start:end]))
                position = end
        del self._input[:position]

    def _take_preface(self) -> bool:
        """Return whether the connection preface is complete."""
        size = len(http2_streams.PREFACE)
        if self._input[:size] != http2_streams.PREFACE[: len(self._input)]:
            raise Http2Error("the peer does not speak HTTP/2")
        if len(self._input) < size:
            return False
        self._expects_preface = False
        del self._input[:size]
        return True

    def _on_frame(self, type_: int, flags: int, stream: int, payload: bytes) -> None:
        if self._expects_settings and type_ != FrameType.SETTINGS:
            raise Http2Error("the first frame is not SETTINGS")
        if self._block is not None and (type_ != FrameType.CONTINUATION or self._block[0] != stream):
            raise Http2Error("header block interrupted")
        # Ordered by frequency. Unknown types are ignored (RFC 9113, 4.1); PRIORITY is obsolete.
        if type_ == FrameType.DATA:
            self._on_data(flags, stream, payload)
        elif type_ == FrameType.WINDOW_UPDATE:
            self._on_window_update(stream, http2_streams.read_word(payload) & http2_streams.LARGEST_WINDOW)
        elif type_ == FrameType.PING:
            self._on_ping(flags, stream, payload)
        elif type_ in (FrameType.HEADERS, FrameType.CONTINUATION):
            self._on_headers(type_, flags, stream, payload)
        elif type_ == FrameType.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif type_ == FrameType.RST_STREAM:
            self._on_reset(stream, http2_streams.read_word(payload))
        elif type_ == FrameType.PUSH_PROMISE:
            raise Http2Error("a client may not push")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received >= WIDE_WINDOW:
            self._outbox.answer(http2_streams.encode_window_update(0, self._received))
            self._received = 0
        stream = self._find_known(stream_id)
        if stream is None:
            return
        stream.receivable -= size
        if stream.receivable < 0:
            raise Http2Error("DATA beyond the stream's window", ErrorCode.FLOW_CONTROL_ERROR)
        if stream.remote_ended:
            raise Http2Error("DATA after the stream's end", ErrorCode.STREAM_CLOSED)
        data = http2_streams.remove_padding(payload, flags)
        consumed = stream.receiver.receive(data) if stream.receiver is not None else len(data)
        self.consume(stream, consumed + size - len(data))
        self._end_remote(stream, flags)

    def _on_window_update(self, stream_id: int, increment: int) -> None:
        if increment == 0:
            raise Http2Error("WINDOW_UPDATE of 0")
        if stream_id == 0:
            self._outbox.room = self._widen(self._outbox.room, increment)
            return
        stream = self._find_known(stream_id)
        if stream is not None:
            stream.room = self._widen(stream.room, increment)

    @staticmethod
    def _widen(room: int, increment: int) -> int:
        if room + increment > http2_streams.LARGEST_WINDOW:
            raise Http2Error("window beyond its limit", ErrorCode.FLOW_CONTROL_ERROR)
        return room + increment

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) != 8:
            raise Http2Error("malformed PING", ErrorCode.PROTOCOL_ERROR if stream else ErrorCode.FRAME_SIZE_ERROR)
        if not flags & http2_streams.ACK:
            self._outbox.answer(http2_streams.encode_frame(FrameType.PING, http2_streams.ACK, 0, payload))

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise Http2Error("SETTINGS on a stream")
        self._expects_settings = False
        if flags & http2_streams.ACK:
            return
        for setting, value in dict(
            http2_streams.parse_settings(payload)
        ).items():  # of several values the last one wins
            if setting == ConnectionSetting.INITIAL_WINDOW_SIZE:
                if value > http2_streams.LARGEST_WINDOW:
                    raise Http2Error("window beyond its limit", ErrorCode.FLOW_CONTROL_ERROR)
                for open_stream in self._streams.values():
                    open_stream.room = self._widen(open_stream.room, value - self._peer_window)
                self._peer_window = value
            elif setting == ConnectionSetting.MAX_FRAME_SIZE:
                if not http2_streams.DEFAULT_FRAME_SIZE <= value <= http2_streams.LARGEST_FRAME_SIZE:
                    raise Http2Error(f"MAX_FRAME_SIZE of {value}")
                self._outbox.frame_size = value
        self._outbox.answer(http2_streams.encode_frame(FrameType.SETTINGS, http2_streams.ACK, 0))

    def _on_headers(self, type_: int, flags: int, stream: int, payload: bytes) -> None:
        if type_ == FrameType.HEADERS:
            if stream % 2 == 0:
                raise Http2Error(f"HEADERS on stream {stream}")
            fragment = http2_streams.read_header_fragment(payload, flags)
            self._block = (stream, bool(flags & http2_streams.END_STREAM), bytearray(fragment))
        elif self._block is None:
            raise Http2Error("CONTINUATION without HEADERS")
        else:
            self._block[2].extend(payload)
        if len(self._block[2]) > LARGEST_HEADERS:
            raise Http2Error("header block too large", ErrorCode.ENHANCE_YOUR_CALM)
        if flags & http2_streams.END_HEADERS:
            (_, ended, block), self._block = self._block, None
            self._on_block(stream, ended, bytes(block))

    def _on_block(self, stream_id: int, ended: bool, block: bytes) -> None:
        try:
            headers = self._decoder.decode(block)
        except ValueError as error:
            raise Http2Error(str(error), ErrorCode.COMPRESSION_ERROR) from error
        flags = http2_streams.END_STREAM if ended else 0
        if stream_id <= self._last:
            known = self._streams.get(stream_id)
            if known is not None:
                self._end_remote(known, flags)
            return
        self._last = stream_id
        if len(self._streams) >= MAX_STREAMS:
            self._outbox.answer(http2_streams.encode_rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            return
        stream = Http2Stream(stream_id, room=self._peer_window, receivable=FIRST_WINDOW)
        self._streams[stream_id] = stream
        self._accept(stream, headers)
        self._end_remote(stream, flags)

    def _on_reset(self, stream_id: int, code: int) -> None:
        stream = self._find_known(stream_id)
        if stream is not None:
            self._forget(stream)
            self._outbox.drop(stream)
            if stream.receiver is not None:
                name = ErrorCode(code).name if code in ErrorCode._value2member_map_ else str(code)
                stream.receiver.lose(f"buildkitd ended the call ({name})")
            self._outbox.owe()  # the headers of its response may still be queued

    def _find_known(self, stream_id: int) -> Http2Stream | None:
        """Return the stream, None if it is closed: frames for closed streams are late, not wrong."""
        stream = self._streams.get(stream_id)
        if stream is None and (stream_id > self._last or stream_id % 2 == 0):
            raise Http2Error(f"frame for stream {stream_id}, which was never opened")
        return stream

    def _end_remote(self, stream: Http2Stream, flags: int) -> None:
        if flags & http2_streams.END_STREAM and not stream.remote_ended:
            stream.remote_ended = True
            if stream.receiver is not None:
                stream.receiver.end()

    # --- output

    def send(self, stream: Http2Stream, data: Buffer) -> None:
        """Queue bytes of a small message or a response. For bulk data, set the stream's producer."""
        stream.enqueue(data)
        self.wake(stream)

    def ping(self) -> None:
        """Queue a PING; its ACK is processed like any other frame."""
        self._outbox.put(http2_streams.encode_frame(FrameType.PING, 0, 0, bytes(8)))

    def send_headers(self, stream: Http2Stream, block: bytes) -> None:
        """Queue a stream's headers, before any of its data."""
        self._outbox.put(http2_streams.encode_frame(FrameType.HEADERS, http2_streams.END_HEADERS, stream.id, block))

    def finish(self, stream: Http2Stream, trailers: bytes) -> None:
        """End the stream with this header block once all its data has been sent."""
        stream.trailers = trailers
        self.wake(stream)

    def wake(self, stream: Http2Stream) -> None:
        """Mark the stream as possibly having data to send."""
        if stream.id in self._streams:
            self._outbox.wake(stream)

    def consume(self, stream: Http2Stream, size: int) -> None:
        """Return ``size`` bytes of window to the peer, in steps: half of a narrow window, a quarter of others.

        The steps make a peer with many small messages on a narrow stream batch them.
        """
        stream.credit += size
        step = FIRST_WINDOW // 2 if stream.window == FIRST_WINDOW else stream.window // 4
        if stream.credit >= step and not stream.paused:
            self._grant(stream, stream.credit)
            stream.credit = 0

    def pause(self, stream: Http2Stream, *, paused: bool) -> None:
        """Stop or resume returning window to the peer."""
        stream.paused = paused
        self.consume(stream, 0)

    def widen(self, stream: Http2Stream, *, wide: bool = False) -> None:
        """Let the peer send more at once.

        A ``wide`` stream waits with a small window until fewer than :data:`MOST_WIDE` wide streams are open.
        """
        self._set_window(stream, SMALL_WINDOW)
        if wide and len(self._wide) < MOST_WIDE:
            self._wide.add(stream.id)
            self._set_window(stream, WIDE_WINDOW)
        elif wide:
            self._to_widen[stream.id] = stream

    def _set_window(self, stream: Http2Stream, size: int) -> None:
        if size > stream.window:
            self._grant(stream, size - stream.window)
            stream.window = size

    def _grant(self, stream: Http2Stream, size: int) -> None:
        if not stream.remote_ended and stream.id in self._streams:
            self._outbox.answer(http2_streams.encode_window_update(stream.id, size))
            stream.receivable += size

    def close(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """End the connection: call ``lose`` of each open stream's receiver and queue a GOAWAY. Idempotent."""
        if self._over:
            return
        self._over = True
        self._input, self._block = bytearray(), None
        self._outbox.put(http2_streams.encode_goaway(self._last, code, reason))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._outbox.drop(stream)
            if stream.receiver is not None:
                stream.receiver.lose(reason)

    def pump(self, limit: int, *, small: bool = False) -> list[Buffer]:
        """Return the frames to send now, about ``limit`` bytes; [] if nothing is queued or no window is open.

        ``small`` also uses up windows with little room, for when no other data has moved for a while.
        """
        return self._outbox.pump(limit, small=small)

    def _forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.id, None)
        self._to_widen.pop(stream.id, None)
        if stream.id in self._wide:
            self._wide.remove(stream.id)
            if self._to_widen:
                self.widen(self._to_widen.pop(next(iter(self._to_widen))), wide=True)
