"""HTTP/2 against ``h2``: its client talks to our server, and of damaged frames both refuse the same."""

from __future__ import annotations

import random

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import hpack
from ci_buildx.wire.http2 import Http2Connection
from ci_buildx.wire.http2_streams import PREFACE, Http2Error, Http2Stream

Headers = list[tuple[bytes, bytes]]
REQUEST: Headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/B"), (b":authority", b"localhost")]
ANSWER: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS: Headers = [(b"grpc-status", b"0")]

names = st.text("abcxyz-", min_size=1, max_size=12).map(str.encode).filter(lambda name: name not in (b"te", b"-"))
values = st.text("abc xyz=/09", max_size=40).map(str.strip).map(str.encode)


class Echo:
    """A service: what a stream sends comes back when it has ended, with trailers."""

    def __init__(self) -> None:
        self.headers: dict[int, Headers] = {}
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.connection = Http2Connection(self.accept)

    def accept(self, stream: Http2Stream, headers: Headers) -> None:
        self.headers[stream.id] = headers
        self.received[stream.id] = b""
        stream.receiver = Echoing(self, stream)

    def sent(self) -> bytes:
        return b"".join(self.connection.pump(1 << 20, small=True))


class Echoing:
    """One stream of it."""

    def __init__(self, echo: Echo, stream: Http2Stream) -> None:
        self.echo = echo
        self.stream = stream

    def receive(self, data: bytes) -> int:
        self.echo.received[self.stream.id] += data
        return len(data)

    def end(self) -> None:
        self.echo.ended.add(self.stream.id)
        connection = self.echo.connection
        connection.send_headers(self.stream, hpack.encode_headers(ANSWER))
        connection.send(self.stream, self.echo.received[self.stream.id])
        connection.finish(self.stream, hpack.encode_headers(TRAILERS))

    def lose(self, reason: str) -> None:
        """Nothing more comes."""


class Client:
    """h2's client, connected to an :class:`Echo`."""

    def __init__(self) -> None:
        self.echo = Echo()
        configuration = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.connection = h2.connection.H2Connection(configuration)
        self.connection.initiate_connection()
        self.headers: dict[int, Headers] = {}
        self.trailers: dict[int, Headers] = {}
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.exchange()  # as grpc-go does, which waits for the server's SETTINGS

    def exchange(self) -> None:
        """Let both speak until neither has more to say."""
        while True:
            to_server = self.connection.data_to_send()
            self.echo.connection.feed(to_server)
            to_client = self.echo.sent()
            for event in self.connection.receive_data(to_client):
                self.on(event)
            if not to_server and not to_client:
                return

    def on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.headers[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)

    def send(self, stream: int, body: bytes, padding: int | None) -> None:
        """Send a body within the windows that we give, and end the stream."""
        sent = 0
        while sent < len(body):
            overhead = 0 if padding is None else padding + 1
            window = self.connection.local_flow_control_window(stream)
            room = min(window, self.connection.max_outbound_frame_size) - overhead
            if room > 0:
                self.connection.send_data(stream, body[sent : sent + room], pad_length=padding)
                sent += min(room, len(body) - sent)
            self.exchange()
        self.connection.end_stream(stream)


calls = st.lists(
    st.tuples(
        st.lists(st.tuples(names, values), max_size=4),
        st.binary(max_size=100) | st.integers(8_000, 90_000).map(lambda size: bytes(range(250)) * (size // 250)),
        st.none() | st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


@given(calls=calls, window=st.none() | st.integers(1, 100_000), frame=st.none() | st.integers(16_384, 100_000))
def test_calls(calls: list[tuple[Headers, bytes, int | None]], window: int | None, frame: int | None) -> None:
    """Headers, bodies and trailers arrive as they were sent, both ways, through windows and padding of any size."""
    client = Client()
    codes = h2.settings.SettingCodes
    settings = {codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame}
    client.connection.update_settings({code: value for code, value in settings.items() if value is not None})
    for index, (headers, body, padding) in enumerate(calls):
        stream = 2 * index + 1
        client.connection.send_headers(stream, REQUEST + headers)
        client.send(stream, body, padding)
    client.exchange()
    for index, (headers, body, _) in enumerate(calls):
        stream = 2 * index + 1
        assert client.echo.headers[stream] == REQUEST + headers
        assert client.echo.received[stream] == body
        assert client.headers[stream] == ANSWER
        assert client.received.get(stream, b"") == body
        assert client.trailers[stream] == TRAILERS
    assert client.ended == client.echo.ended == client.echo.headers.keys()


def test_the_ends_of_a_connection() -> None:
    client = Client()
    client.connection.send_headers(1, REQUEST)
    client.connection.ping(b"12345678")
    client.connection.reset_stream(1, 8)
    client.exchange()
    assert client.echo.headers == {1: REQUEST}
    client.echo.connection.close("over")
    events = client.connection.receive_data(client.echo.sent())
    assert [(event.error_code, event.additional_data) for event in events] == [(0, b"over")]  # type: ignore[attr-defined]


def damaged(seed: int) -> bytes:
    """What a client sends, in which bits of the frames' headers and contents are others."""
    chance = random.Random(seed)
    streams = [1, 3, 5]
    frames: list[Frame] = [SettingsFrame(0, settings={chance.choice([1, 3, 4, 5, 6]): 20_000})]
    for stream in streams[: chance.randrange(1, 4)]:
        frames.append(HeadersFrame(stream, hpack.encode_headers(REQUEST), flags=["END_HEADERS"]))
        frames.append(DataFrame(stream, bytes(chance.randrange(60))))
        frames.append(
            chance.choice(
                [
                    WindowUpdateFrame(chance.choice([0, stream]), window_increment=chance.choice([1, 1 << 30])),
                    PingFrame(0, opaque_data=b"12345678"),
                    RstStreamFrame(stream, error_code=8),
                    DataFrame(stream, b"x", pad_length=chance.randrange(9), flags=["PADDED", "END_STREAM"]),
                ]
            )
        )
    wires = [bytearray(frame.serialize()) for frame in frames]
    for _ in range(chance.randrange(3)):
        wire = chance.choice(wires)
        wire[chance.randrange(3, min(len(wire), 16))] ^= 1 << chance.randrange(8)
    return PREFACE + b"".join(wires)


Read = tuple[dict[int, Headers], dict[int, bytes]]


def by_us(data: bytes) -> Read | str:
    """What each stream brought, or why the connection is over."""
    echo = Echo()
    try:
        echo.connection.feed(data)
    except Http2Error as error:
        return str(error)
    return echo.headers, echo.received


def by_h2(data: bytes) -> Read | str:
    configuration = h2.config.H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
    server = h2.connection.H2Connection(configuration)
    server.initiate_connection()
    headers: dict[int, Headers] = {}
    received: dict[int, bytes] = {}
    try:
        events = server.receive_data(data)
    except h2.exceptions.ProtocolError as error:
        return f"{type(error).__name__}: {error}"
    for event in events:
        if isinstance(event, h2.events.RequestReceived):
            headers[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
            received[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            received[event.stream_id] += event.data
    return headers, received


ONLY_OURS = ("DATA after the stream's end", "the first frame is not SETTINGS", "which was never opened")
"""h2 resets the stream, or reads on. RFC 9113 has the first as a stream's error, which may end the connection (5.4.2),
and the others as the connection's (3.4, 5.1)."""
ONLY_THEIRS = {
    "StreamIDTooLowError": "a request on a number that was left out: for us a late frame of a stream that has been",
    "FrameDataMissingError": "PRIORITY, which we read over, of another size",
    "Stream ID must be": "PRIORITY and GOAWAY, which we read over, on a wrong stream",
    "non-compliant data": "a reserved bit of WINDOW_UPDATE, which must be ignored (RFC 9113, 6.9)",
    "invalid padding": "of DATA for a stream that has been",
    "Trailers must have END_STREAM set": "we read over trailers",
    "Setting 2 has invalid value": "ENABLE_PUSH, which a client may leave as it likes: we never push",
    "ConnectionState.CLOSED": "after GOAWAY the calls that the peer has begun go on",
}


@pytest.mark.parametrize("seed", range(0, 10_000, 1000))
def test_both_refuse_the_same(seed: int) -> None:
    differ = []
    for data in map(damaged, range(seed, seed + 200)):
        ours, theirs = by_us(data), by_h2(data)
        if isinstance(ours, str):
            same = isinstance(theirs, str) or any(reason in ours for reason in ONLY_OURS)
        elif isinstance(theirs, str):
            same = any(reason in theirs for reason in ONLY_THEIRS)
        else:
            same = ours == theirs
        if not same:
            differ.append((data.hex(), ours, theirs))
    assert differ == []
