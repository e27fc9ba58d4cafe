"""HTTP/1.1 responses without I/O: bytes in, head and body out; and the encoding of requests.

One parser serves REST calls, watches, WebSocket upgrades and proxies' CONNECT. Unlike ``http.client``, it can continue
after a timeout in the middle of a body, which a watch with a stop event requires, and it does not import ``email`` (11
ms). Source: RFC 9112.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

HEAD_LIMIT = 64 << 10
"""Maximum bytes of a response's head, or of one line between chunks."""


_VERSIONS = frozenset(f"HTTP/1.{minor}" for minor in range(10))
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""Characters of a header's name (RFC 9110, section 5.6.2)."""

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body."""


class MalformedResponse(ValueError):
    """The server's response is not HTTP/1.1."""


class ResponseHead:
    """A response's status line and headers; header names are lower case."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers

    @property
    def reusable(self) -> bool:
        """Whether the server keeps the connection open after this response."""
        return self.headers.get("connection", "").lower() != "close"


class _BodyFraming(Enum):
    """How a body's end is determined."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class ResponseReader:
    """Reads one response. ``head`` is None until it is complete; ``rest`` holds the bytes after the response."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.finished = False
        self._buffer = bytearray()
        self._body = _BodyFraming.NONE
        self._remaining = 0
        self._in_chunk = False
        self._trailers = False

    @property
    def rest(self) -> bytes:
        """Bytes after the response, for example of an upgraded protocol."""
        return bytes(self._buffer) if self.finished else b""

    @property
    def started(self) -> bool:
        """Whether any byte has arrived."""
        return self.head is not None or bool(self._buffer)

    def feed(self, received: bytes) -> bytes:
        """Add bytes from the connection and return the body bytes in them. Raises MalformedResponse."""
        self._buffer += received
        while self.head is None:
            if not self._read_head():
                return b""
        return self._read_body()

    def end(self) -> None:
        """Note that the connection was closed. Raises MalformedResponse if the response is incomplete."""
        if not self.finished and (self.head is None or self._body is not _BodyFraming.CLOSE):
            raise MalformedResponse("the connection was closed in the middle of a response")
        self.finished = True

    def _read_head(self) -> bool:
        """Return whether a head was complete; heads of interim responses (1xx, except 101) are discarded."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise MalformedResponse("the head of the response is too long")
            return False
        head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if head.status >= 200 or head.status == 101:
            self.head = head
            self._body, self._remaining = _read_framing(head)
            self.finished = self._body is _BodyFraming.NONE
        return True

    def _read_body(self) -> bytes:
        if self.finished:
            return b""
        if self._body is _BodyFraming.CHUNKED:
            return self._read_chunks()
        if self._body is _BodyFraming.CLOSE:
            return self._take(len(self._buffer))
        body = self._take(min(self._remaining, len(self._buffer)))
        self._remaining -= len(body)
        self.finished = self._remaining == 0
        return body

    def _read_chunks(self) -> bytes:
        parts = []
        while not self.finished:
            if self._in_chunk and self._remaining:
                if not self._buffer:
                    break
                part = self._take(min(self._remaining, len(self._buffer)))
                self._remaining -= len(part)
                parts.append(part)
                continue
            line = self._read_line()
            if line is None:
                break
            self._read_chunk_line(line)
        return b"".join(parts)

    def _read_chunk_line(self, line: bytes) -> None:
        if self._trailers:
            self.finished = not line
            if line:
                _read_field(line.decode("latin-1"))
        elif self._in_chunk:
            if line:
                raise MalformedResponse("a chunk is longer than announced")
            self._in_chunk = False
        else:
            self._remaining = _parse_number(line.partition(b";")[0].rstrip(b" \t"), 16)
            self._in_chunk = self._remaining > 0
            self._trailers = self._remaining == 0

    def _read_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise MalformedResponse("a line between chunks is too long")
            return None
        line = self._take(end)
        del self._buffer[:2]
        return line

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def parse_head(text: bytes) -> ResponseHead:
    """Parse a head without its empty line; repeated headers are joined by commas. Raises MalformedResponse."""
    lines = text.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    code, _, reason = rest.partition(" ")
    if version not in _VERSIONS or len(code) != 3 or not code.isdecimal() or any(one in reason for one in "\0\r\n"):
        raise MalformedResponse("the response is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, value = _read_field(line)
        if name == "content-length" and headers.get(name) == value:
            continue  # an equal repetition counts once (RFC 9110, section 8.6)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if version == "HTTP/1.0" and headers.get("connection", "").lower() != "keep-alive":
        headers["connection"] = "close"
    return ResponseHead(status=_parse_number(code.encode(), 10), reason=reason, headers=headers)


def _read_field(line: str) -> tuple[str, str]:
    """Return the name, in lower case, and the value of a header."""
    name, colon, value = line.partition(":")
    # Some readers treat a bare CR or LF as a line break, others as part of the value (RFC 9110, section 5.5).
    if not colon or not name or not _TOKEN.issuperset(name) or "\r" in value or "\n" in value or "\0" in value:
        raise MalformedResponse("malformed header")
    return name.lower(), value.strip(" \t")


def encode_request(
    method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, chunked: bool = False
) -> bytes:
    """Encode a request; ``headers`` must contain Host.

    Raises ValueError for line breaks, which could smuggle in a second request. With ``chunked``, encodes only the head:
    the body follows as :func:`encode_chunk` and :data:`LAST_CHUNK`.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header must not hold a line break")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def encode_chunk(data: bytes) -> bytes:
    """Encode a piece of a chunked body; ``data`` must not be empty, as an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _read_framing(head: ResponseHead) -> tuple[_BodyFraming, int]:
    if head.status in (101, 204, 304):
        return _BodyFraming.NONE, 0
    coding = head.headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise MalformedResponse("the body has a transfer coding other than chunked")
        return _BodyFraming.CHUNKED, 0
    length = head.headers.get("content-length")
    if length is None:
        return _BodyFraming.CLOSE, 0
    size = _parse_number(length.encode(), 10)
    return (_BodyFraming.LENGTH if size else _BodyFraming.NONE), size


def _parse_number(digits: bytes, base: int) -> int:
    if not digits or len(digits) > 16 or not digits.isalnum():
        raise MalformedResponse("malformed length")
    try:
        return int(digits, base)
    except ValueError:
        raise MalformedResponse("malformed length") from None
