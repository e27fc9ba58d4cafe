"""The daemon's side of a session in tests: an HTTP/2 client of literal frames, no sockets, no threads."""

from dataclasses import dataclass, field

from ci_buildx.wire import hpack, http2_streams, protobuf
from ci_buildx.wire.http2_streams import ConnectionSetting, FrameType

Frame = tuple[int, int, int, bytes]


def split(data: bytes) -> list[Frame]:
    """(type, flags, stream, payload) of each frame."""
    found, position = [], 0
    while position < len(data):
        size, type_, flags, stream = http2_streams.parse_header(data, position)
        start = position + http2_streams.HEADER_SIZE
        found.append((type_, flags, stream, data[start : start + size]))
        position = start + size
    return found


def greeting(**settings: int) -> bytes:
    """Preface and SETTINGS, for example ``INITIAL_WINDOW_SIZE=100``."""
    return http2_streams.PREFACE + http2_streams.encode_settings(
        {ConnectionSetting[name]: value for name, value in settings.items()}
    )


def request(stream: int, path: str, *, end: bool = False, metadata: tuple[tuple[str, str], ...] = ()) -> bytes:
    """HEADERS of a call, as grpc-go makes them, and CONTINUATION where they are long."""
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b"te", b"trailers")]
    headers += [(name.encode(), value.encode()) for name, value in metadata]
    block = hpack.encode_headers(headers)
    pieces = [block[start : start + 16384] for start in range(0, len(block), 16384)]
    return b"".join(
        http2_streams.encode_frame(
            FrameType.CONTINUATION if index else FrameType.HEADERS,
            (http2_streams.END_HEADERS if index == len(pieces) - 1 else 0)
            | (http2_streams.END_STREAM if end and not index else 0),
            stream,
            piece,
        )
        for index, piece in enumerate(pieces)
    )


def message(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """DATA with one gRPC message."""
    return data(stream, b"\x00" + len(content).to_bytes(4, "big") + content, end=end)


def data(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """DATA frames of the default size."""
    pieces = [content[start : start + 16384] for start in range(0, len(content), 16384)]
    last = http2_streams.END_STREAM if end else 0
    return b"".join(
        http2_streams.encode_frame(FrameType.DATA, last if index == len(pieces) - 1 else 0, stream, piece)
        for index, piece in enumerate(pieces)
    )


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        found, position = [], 0
        while position < len(self.data):
            size = int.from_bytes(self.data[position + 1 : position + 5], "big")
            found.append(self.data[position + 5 : position + 5 + size])
            position += 5 + size
        return found

    @property
    def status(self) -> str:
        return (self.trailers or self.headers).get("grpc-status", "")


def answers(sent: list[Frame]) -> dict[int, Answer]:
    """Answers by stream."""
    decoder = hpack.HpackDecoder()
    found: dict[int, Answer] = {}
    for type_, _, stream, payload in sent:
        answer = found.setdefault(stream, Answer())
        if type_ == FrameType.HEADERS:
            headers = {name.decode(): value.decode() for name, value in decoder.decode(payload)}
            if answer.headers:
                answer.trailers = headers
            else:
                answer.headers = headers
        elif type_ == FrameType.DATA:
            answer.data += payload
        elif type_ == FrameType.RST_STREAM:
            answer.reset = http2_streams.read_word(payload)
    return found


def wrap(data: bytes) -> bytes:
    """A serialized BytesMessage."""
    return protobuf.encode_length_delimited(1, data)


def unwrap(message: bytes) -> bytes:
    """The data of a serialized BytesMessage."""
    return b"".join(
        value for number, _, value in protobuf.read_fields(message) if number == 1 and isinstance(value, bytes)
    )
