"""The engine, frame by frame (RFC 9113)."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import hpack, http2, http2_streams
from ci_buildx.wire.http2 import Http2Connection
from ci_buildx.wire.http2_streams import ConnectionSetting, ErrorCode, FrameType, Http2Error, Http2Stream
from tests.unit.session import daemon
from tests.unit.session.daemon import Frame

PAST_ITS_BEGINNING = 1 << 20
"""Bytes that a stream has sent, after which it sends as much as there is room for."""


class Service:
    """Takes streams and notes what happens to them."""

    def __init__(self) -> None:
        self.streams: list[Http2Stream] = []
        self.headers: list[list[hpack.Header]] = []
        self.received = b""
        self.ended = False
        self.lost = ""
        self.give_back = True
        self.connection = Http2Connection(self.accept)

    def accept(self, stream: Http2Stream, headers: list[hpack.Header]) -> None:
        stream.receiver = self
        self.streams.append(stream)
        self.headers.append(headers)

    def receive(self, data: bytes) -> int:
        self.received += data
        return len(data) if self.give_back else 0

    def end(self) -> None:
        self.ended = True

    def lose(self, reason: str) -> None:
        self.lost = reason

    def greet(self, **settings: int) -> None:
        self.connection.feed(daemon.greeting(**settings))
        self.sent()

    def sent(self, limit: int = 1 << 20, *, small: bool = False) -> list[Frame]:
        return daemon.split(b"".join(self.connection.pump(limit, small=small)))


@pytest.fixture
def service() -> Service:
    """The receiving side of a connection that the server's SETTINGS have opened."""
    made = Service()
    made.greet()
    return made


def test_greeting() -> None:
    service = Service()
    service.connection.feed(daemon.greeting())
    settings, window, acknowledgement = service.sent()
    assert settings[:3] == (FrameType.SETTINGS, 0, 0)
    assert dict(http2_streams.parse_settings(settings[3]))[ConnectionSetting.INITIAL_WINDOW_SIZE] == http2.FIRST_WINDOW
    assert window == (FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", http2_streams.LARGEST_WINDOW - 65535))
    assert acknowledgement == (FrameType.SETTINGS, http2_streams.ACK, 0, b"")


def test_a_ping_is_answered_at_once(service: Service) -> None:
    service.connection.feed(http2_streams.encode_frame(FrameType.PING, 0, 0, b"12345678"))
    service.connection.feed(http2_streams.encode_frame(FrameType.PING, http2_streams.ACK, 0, b"87654321"))
    assert service.sent() == [(FrameType.PING, http2_streams.ACK, 0, b"12345678")]


def test_input_may_come_byte_by_byte() -> None:
    service = Service()
    for byte in daemon.greeting() + daemon.request(1, "/a/B") + daemon.message(1, b"hello", end=True):
        service.connection.feed(bytes((byte,)))
    assert service.received == b"\0\0\0\0\5hello"
    assert service.ended


def test_a_header_block_in_pieces_with_padding_and_priority(service: Service) -> None:
    block = hpack.encode_headers([(b":path", b"/a/B"), (b"k", b"v")])
    padded = bytes((3,)) + b"\0\0\0\0\1" + block[:4] + b"\0\0\0"
    service.connection.feed(
        http2_streams.encode_frame(FrameType.HEADERS, http2_streams.PADDED | http2_streams.PRIORITY, 1, padded)
    )
    service.connection.feed(http2_streams.encode_frame(FrameType.CONTINUATION, 0, 1, block[4:5]))
    assert service.headers == []
    service.connection.feed(http2_streams.encode_frame(FrameType.CONTINUATION, http2_streams.END_HEADERS, 1, block[5:]))
    assert service.headers == [[(b":path", b"/a/B"), (b"k", b"v")]]


def test_padding_of_data_counts_for_the_window_but_not_for_the_content(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    service.connection.feed(http2_streams.encode_frame(FrameType.DATA, http2_streams.PADDED, 1, b"\x04abc\0\0\0\0"))
    assert service.received == b"abc"
    assert service.streams[0].credit == 8


def test_trailers_and_unknown_frames_are_read_over(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    service.connection.feed(http2_streams.encode_header(99, 0, 1, 3) + b"abc")  # type: ignore[arg-type]
    service.connection.feed(http2_streams.encode_frame(FrameType.PRIORITY, 0, 1, b"12345"))
    service.connection.feed(daemon.request(1, "/", end=True))
    assert service.ended
    assert len(service.streams) == 1


# --- sending


def test_data_is_cut_to_the_peers_frame_size() -> None:
    service = Service()
    service.greet(INITIAL_WINDOW_SIZE=1 << 20)
    service.connection.feed(http2_streams.encode_window_update(0, 1 << 20) + daemon.request(1, "/"))
    service.connection.send(service.streams[0], b"x" * 40_000)
    assert [len(payload) for *_, payload in service.sent()] == [16384, 16384, 7232]
    service.connection.feed(http2_streams.encode_settings({ConnectionSetting.MAX_FRAME_SIZE: 65536}))
    service.connection.send(service.streams[0], b"x" * 40_000)
    assert [len(payload) for type_, *_, payload in service.sent() if type_ == FrameType.DATA] == [40_000]


def test_nothing_goes_beyond_either_window(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    asked: list[int] = []

    def produce(room: int) -> bytes:
        asked.append(room)
        return b"x" * (room + 10)

    stream.producer, stream.sent = produce, PAST_ITS_BEGINNING
    service.connection.wake(stream)
    assert sum(len(payload) for *_, payload in service.sent()) == 65535
    assert service.sent() == []
    service.connection.feed(http2_streams.encode_window_update(1, 20_000))
    assert service.sent() == []
    service.connection.feed(http2_streams.encode_window_update(0, 30_000))
    assert sum(len(payload) for *_, payload in service.sent()) == 20_000
    assert asked == [65535, 19990]


def test_a_producer_begins_with_little_and_doubles_it(service: Service) -> None:
    """So that a peer that can begin with the first of many files need not wait for the last one's name."""
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    stream.producer = lambda room: b"x" * room
    service.connection.wake(stream)
    batches = [sum(len(payload) for *_, payload in service.sent()) for _ in range(4)]
    assert batches == [8192, 8192, 16384, 32767]


def test_it_is_ready_when_something_can_go_out(service: Service) -> None:
    connection = service.connection
    service.sent()
    assert not connection.ready
    connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    stream.producer, stream.sent = lambda room: b"x" * room, PAST_ITS_BEGINNING
    connection.wake(stream)
    assert connection.ready
    service.sent()
    assert not connection.ready  # the window is full
    connection.feed(http2_streams.encode_window_update(1, 20_000))
    assert not connection.ready  # the connection's, too
    connection.feed(http2_streams.encode_window_update(0, 20_000))
    assert connection.ready
    service.sent()
    stream.producer = None
    connection.finish(stream, b"")
    assert connection.ready  # trailers need no window


def test_crumbs_are_held_back_until_asked_for(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    stream.producer, stream.sent = lambda room: b"x" * room, PAST_ITS_BEGINNING
    service.connection.wake(stream)
    service.sent()
    assert not service.connection.held
    service.connection.feed(http2_streams.encode_window_update(1, 1000) + http2_streams.encode_window_update(0, 1000))
    assert service.sent() == []
    assert service.connection.held
    assert [len(payload) for *_, payload in service.sent(small=True)] == [1000]


def test_a_short_answer_is_no_crumb(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    service.connection.send(service.streams[0], b"x" * 65500)
    service.sent()
    service.connection.send(service.streams[0], b"y" * 35)
    assert [payload for *_, payload in service.sent()] == [b"y" * 35]


def test_streams_take_turns(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/") + daemon.request(3, "/"))
    for stream in service.streams:
        stream.producer, stream.sent = lambda room: b"x" * room, PAST_ITS_BEGINNING
        service.connection.wake(stream)
    turns = [{stream for _, _, stream, _ in service.sent(10_000)} for _ in range(4)]
    assert turns == [{1}, {3}, {1}, {3}]


def test_a_stream_of_small_pieces_leaves_others_their_turn(service: Service) -> None:
    """A message that is nearly full has no room for a second stream, which then begins the next one."""
    service.connection.feed(daemon.request(1, "/") + daemon.request(3, "/"))
    for stream, piece in zip(service.streams, (2048, 12_000), strict=True):
        stream.producer, stream.sent = (lambda room, piece=piece: b"x" * min(room, piece)), PAST_ITS_BEGINNING
        service.connection.wake(stream)
    turns = [{stream for _, _, stream, _ in service.sent(12_000)} for _ in range(4)]
    assert turns == [{1}, {3}, {1}, {3}]


def test_trailers_come_after_all_data_and_end_the_stream(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    service.connection.send_headers(stream, hpack.encode_headers([(b":status", b"200")]))
    service.connection.send(stream, b"x" * 70_000)
    service.connection.finish(stream, hpack.encode_headers([(b"grpc-status", b"0")]))
    assert [type_ for type_, *_ in service.sent()] == [FrameType.HEADERS, *[FrameType.DATA] * 4]
    service.connection.feed(http2_streams.encode_window_update(1, 9000) + http2_streams.encode_window_update(0, 9000))
    data, trailers = service.sent()
    assert len(data[3]) == 70_000 - 65_535
    assert trailers[:3] == (FrameType.HEADERS, http2_streams.END_HEADERS | http2_streams.END_STREAM, 1)
    service.connection.feed(
        http2_streams.encode_window_update(1, 1) + http2_streams.encode_frame(FrameType.DATA, 0, 1, b"late")
    )
    assert service.received == b""


def test_a_changed_initial_window_moves_open_streams(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    service.connection.send(stream, b"x" * 60_000)
    service.sent()
    service.connection.feed(http2_streams.encode_settings({ConnectionSetting.INITIAL_WINDOW_SIZE: 100}))
    assert stream.room == 100 - 60_000
    service.connection.send(stream, b"y")
    assert [type_ for type_, *_ in service.sent()] == [FrameType.SETTINGS]
    service.connection.feed(http2_streams.encode_window_update(1, 60_000))
    assert [payload for *_, payload in service.sent()] == [b"y"]


# --- receiving


def widened(service: Service) -> Http2Stream:
    """A stream on which the peer may send a lot."""
    service.connection.feed(daemon.request(1, "/"))
    service.connection.widen(service.streams[0], wide=True)
    increments = [http2_streams.read_word(increment) for _, _, _, increment in service.sent()]
    assert sum(increments) == http2.WIDE_WINDOW - http2.FIRST_WINDOW
    return service.streams[0]


def test_a_narrow_window_is_given_back_by_halves(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    half = http2.FIRST_WINDOW // 2
    for size in (half - 1, 1):
        assert service.sent() == []
        service.connection.feed(http2_streams.encode_frame(FrameType.DATA, 0, 1, b"x" * size))
    assert service.sent() == [(FrameType.WINDOW_UPDATE, 0, 1, struct.pack(">I", half))]
    with pytest.raises(Http2Error, match="beyond the stream's window"):
        service.connection.feed(http2_streams.encode_frame(FrameType.DATA, 0, 1, b"x" * (http2.FIRST_WINDOW + 1)))


def test_a_pause_keeps_what_is_consumed(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    stream = service.streams[0]
    service.connection.pause(stream, paused=True)
    service.connection.feed(http2_streams.encode_frame(FrameType.DATA, 0, 1, b"x" * http2.FIRST_WINDOW))
    assert service.sent() == []
    service.connection.pause(stream, paused=False)
    assert service.sent() == [(FrameType.WINDOW_UPDATE, 0, 1, struct.pack(">I", http2.FIRST_WINDOW))]


def test_windows_are_given_back_as_data_is_consumed(service: Service) -> None:
    widened(service)
    frame = http2_streams.encode_frame(FrameType.DATA, 0, 1, b"x" * 16384)
    updates = []
    for _ in range(3 * http2.WIDE_WINDOW // 16384):
        service.connection.feed(frame)
        updates += [(stream, http2_streams.read_word(payload)) for type_, _, stream, payload in service.sent()]
        service.received = b""
    given = {stream: sum(increment for each, increment in updates if each == stream) for stream in (0, 1)}
    assert all(given[stream] > 2 * http2.WIDE_WINDOW for stream in (0, 1))
    assert len(updates) < 20


def test_a_service_that_does_not_keep_up_stops_the_peer(service: Service) -> None:
    service.give_back = False
    widened(service)
    frame = http2_streams.encode_frame(FrameType.DATA, 0, 1, b"x" * 16384)
    for _ in range(http2.WIDE_WINDOW // 16384):
        service.connection.feed(frame)
        service.received = b""
    assert [stream for _, _, stream, _ in service.sent() if stream == 1] == []
    service.connection.consume(service.streams[0], http2.WIDE_WINDOW)
    assert [stream for _, _, stream, _ in service.sent()] == [1]
    service.give_back = False
    with pytest.raises(Http2Error, match="beyond the stream's window"):
        for _ in range(http2.WIDE_WINDOW // 16384 + 10):
            service.connection.feed(frame)
            service.received = b""


def test_reset(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/") + http2_streams.encode_rst_stream(1, ErrorCode.CANCEL))
    assert service.lost == "buildkitd ended the call (CANCEL)"
    service.connection.send(service.streams[0], b"x")
    assert service.sent() == []


def test_too_many_streams_are_refused(service: Service) -> None:
    for number in range(http2.MAX_STREAMS):
        service.connection.feed(daemon.request(2 * number + 1, "/"))
    service.connection.feed(daemon.request(999, "/"))
    assert service.sent() == [(FrameType.RST_STREAM, 0, 999, struct.pack(">I", ErrorCode.REFUSED_STREAM))]
    assert len(service.streams) == http2.MAX_STREAMS


def test_goaway_of_the_peer_changes_nothing(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/") + http2_streams.encode_goaway(1, ErrorCode.NO_ERROR, "bye"))
    service.connection.send(service.streams[0], b"x")
    assert [type_ for type_, *_ in service.sent()] == [FrameType.DATA]


def test_close_tells_everybody(service: Service) -> None:
    service.connection.feed(daemon.request(1, "/"))
    service.connection.close("the end")
    assert service.lost == "the end"
    assert service.sent() == [(FrameType.GOAWAY, 0, 0, struct.pack(">II", 1, 0) + b"the end")]
    service.connection.feed(b"anything")
    service.connection.close("again")
    assert service.sent() == []


# --- a peer that breaks the rules

OPEN = daemon.request(1, "/")
BLOCK = http2_streams.encode_frame(FrameType.HEADERS, 0, 1)
BROKEN: list[tuple[str, bytes, ErrorCode]] = [
    ("even stream", daemon.request(2, "/"), ErrorCode.PROTOCOL_ERROR),
    (
        "data on a stream that never was",
        http2_streams.encode_frame(FrameType.DATA, 0, 5, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("data on the connection", http2_streams.encode_frame(FrameType.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("data after the end", OPEN + daemon.message(1, b"", end=True) * 2, ErrorCode.STREAM_CLOSED),
    ("too large a frame", http2_streams.encode_header(FrameType.DATA, 0, 1, 16385), ErrorCode.FRAME_SIZE_ERROR),
    (
        "padding over everything",
        OPEN + http2_streams.encode_frame(FrameType.DATA, http2_streams.PADDED, 1, b"\x04abc"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "padding of nothing",
        OPEN + http2_streams.encode_frame(FrameType.DATA, http2_streams.PADDED, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "short priority",
        http2_streams.encode_frame(FrameType.HEADERS, http2_streams.PRIORITY, 1, b"1234"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    ("interrupted block", BLOCK + http2_streams.encode_frame(FrameType.PING, 0, 0, b"8" * 8), ErrorCode.PROTOCOL_ERROR),
    (
        "continuation of another",
        BLOCK + http2_streams.encode_frame(FrameType.CONTINUATION, 4, 3),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("continuation of nothing", http2_streams.encode_frame(FrameType.CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR),
    (
        "endless block",
        BLOCK + http2_streams.encode_frame(FrameType.CONTINUATION, 0, 1, b"x" * 16000) * 300,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    (
        "bad compression",
        http2_streams.encode_frame(FrameType.HEADERS, http2_streams.END_HEADERS, 1, b"\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    ("zero increment", http2_streams.encode_window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    (
        "connection window overflow",
        http2_streams.encode_window_update(0, http2_streams.LARGEST_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    (
        "stream window overflow",
        OPEN + http2_streams.encode_window_update(1, http2_streams.LARGEST_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    (
        "short window update",
        http2_streams.encode_frame(FrameType.WINDOW_UPDATE, 0, 0, b"123"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    ("short reset", OPEN + http2_streams.encode_frame(FrameType.RST_STREAM, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    ("reset of nothing", http2_streams.encode_rst_stream(7, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    ("short ping", http2_streams.encode_frame(FrameType.PING, 0, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    ("ping on a stream", http2_streams.encode_frame(FrameType.PING, 0, 1, b"8" * 8), ErrorCode.PROTOCOL_ERROR),
    (
        "settings of a broken size",
        http2_streams.encode_frame(FrameType.SETTINGS, 0, 0, b"12345"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    ("settings on a stream", http2_streams.encode_frame(FrameType.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    (
        "too large a window",
        http2_streams.encode_settings({ConnectionSetting.INITIAL_WINDOW_SIZE: 1 << 31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    (
        "too small a frame size",
        http2_streams.encode_settings({ConnectionSetting.MAX_FRAME_SIZE: 100}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("push", http2_streams.encode_frame(FrameType.PUSH_PROMISE, 0, 1, b"1234"), ErrorCode.PROTOCOL_ERROR),
    ("ping flood", http2_streams.encode_frame(FrameType.PING, 0, 0, b"8" * 8) * 5000, ErrorCode.ENHANCE_YOUR_CALM),
    ("settings flood", http2_streams.encode_settings({}) * 5000, ErrorCode.ENHANCE_YOUR_CALM),
]


@pytest.mark.parametrize(("data", "code"), [pytest.param(data, code, id=name) for name, data, code in BROKEN])
def test_broken_rules_end_the_connection(service: Service, data: bytes, code: ErrorCode) -> None:
    with pytest.raises(Http2Error) as caught:
        service.connection.feed(data)
    assert caught.value.code == code
    last = service.sent()[-1]
    assert last[0] == FrameType.GOAWAY
    assert struct.unpack(">I", last[3][4:8])[0] == code


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "does not speak HTTP/2"),
        (
            http2_streams.PREFACE + http2_streams.encode_frame(FrameType.PING, 0, 0, b"8" * 8),
            "first frame is not SETTINGS",
        ),
    ],
)
def test_a_broken_start(start: bytes, message: str) -> None:
    with pytest.raises(Http2Error, match=message):
        Http2Connection(lambda *_: None).feed(start)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_taken_or_a_protocol_error(data: bytes, greeted: bool) -> None:
    service = Service()
    try:
        service.connection.feed((daemon.greeting() if greeted else b"") + data)
    except Http2Error as error:
        assert str(error)
    service.sent()


FRAME: Callable[..., st.SearchStrategy[bytes]] = lambda: st.builds(  # noqa: E731
    lambda type_, flags, stream, payload: http2_streams.encode_header(type_, flags, stream, len(payload)) + payload,
    st.integers(0, 10),
    st.integers(0, 255),
    st.integers(0, 7),
    st.binary(max_size=20),
)


@given(st.lists(FRAME(), max_size=10))
def test_any_frames_are_taken_or_a_protocol_error(sequence: list[bytes]) -> None:
    service = Service()
    service.greet()
    try:
        service.connection.feed(b"".join(sequence))
    except Http2Error as error:
        assert str(error)
    service.sent()
