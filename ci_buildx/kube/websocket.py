"""A connected, non-blocking WebSocket, driven by the poll loop of a tunnel."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

from ci_buildx.errors import KubeError
from ci_buildx.kube.connection import ApiConnection
from ci_buildx.kube.refusal import make_kube_error
from ci_buildx.wire import http1, websocket
from ci_buildx.wire.http1 import ResponseHead, ResponseReader
from ci_buildx.wire.websocket import HEADER_LIMIT, FrameOpcode, FrameReader

BUFFER = 256 << 10
"""Bytes of payload per frame, and per read."""

_RECORD = 16 << 10
"""Most bytes of a TLS record (RFC 8446, 5.1), and so of one read."""
_PREFIX = HEADER_LIMIT + 1


class WebSocket:
    """One WebSocket, for use by one thread; it holds at most one outgoing frame and one read's worth of input.

    To send: write into :attr:`room`, call :meth:`dispatch`, then :meth:`flush` until it returns True. ``ended`` becomes
    True when the server sends a CLOSE frame or closes the connection; ``close_reason`` is the reason in that frame.
    """

    def __init__(self, connection: socket.socket, *, protocol: str, received: bytes = b"") -> None:
        connection.setblocking(False)
        self.protocol = protocol
        self.ended = False
        self.drained = False
        """Whether the last read took all that had arrived, so that polling is cheaper than reading again."""
        self.close_reason = ""
        self._connection = connection
        self._masked = not isinstance(connection, ssl.SSLSocket)
        self._frames = FrameReader()
        self._early = received
        self._incoming = memoryview(bytearray(BUFFER))
        self._frame = memoryview(bytearray(_PREFIX + BUFFER))
        self._unsent: memoryview = self._frame[:0]
        self._control = b""
        self._pong = b""
        self.room = self._frame[_PREFIX:]

    def fileno(self) -> int:
        """Return the socket's descriptor for poll.

        TLS may hold decrypted bytes, so poll only after :meth:`receive` returned None.
        """
        return self._connection.fileno()

    @property
    def sending(self) -> bool:
        """Whether dispatched bytes are still unsent."""
        return bool(self._unsent) or bool(self._control) or bool(self._pong)

    @property
    def has_room(self) -> bool:
        """Whether :attr:`room` may be written and dispatched: every earlier byte has been sent."""
        return not self.sending

    def dispatch(self, size: int, channel: int) -> None:
        """Frame the first ``size`` bytes of :attr:`room` in place, as a message on ``channel``."""
        key = os.urandom(4) if self._masked else b"\0\0\0\0"
        head = websocket.make_frame_header(FrameOpcode.BINARY, size + 1, key)
        start, end = HEADER_LIMIT - len(head), _PREFIX + size
        self._frame[start:HEADER_LIMIT] = head
        self._frame[HEADER_LIMIT] = channel
        if self._masked:
            self._frame[HEADER_LIMIT:end] = websocket.mask_payload(self._frame[HEADER_LIMIT:end], key)
        self._unsent = self._frame[start:end]

    def flush(self) -> bool:
        """Send as much as possible without blocking; return True when nothing is left.

        Raises OSError if the connection broke.
        """
        while self._unsent:
            sent = self._send(self._unsent)
            if not sent:
                return False
            self._unsent = self._unsent[sent:]
        while self._control or self._pong:
            if not self._control:
                self._control, self._pong = self._pong, b""
            sent = self._send(self._control)
            if not sent:
                return False
            self._control = self._control[sent:]
        return True

    def receive(self) -> list[memoryview] | None:
        """Return the data messages that have arrived, possibly none; None if there is nothing to read now.

        The views are valid until the next call. Raises OSError or WebSocketError if the connection is unusable.
        """
        if self._early:
            early, self._early = self._early, b""
            return self._take(memoryview(early))
        try:
            size = self._read(self._incoming)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        self.drained = size < _RECORD
        if not size:
            self.ended = True
            return []
        return self._take(self._incoming[:size])

    def close(self) -> None:
        """Send a CLOSE frame if that is possible without blocking, and close the connection."""
        try:
            if not self.ended and not self.sending:
                self._send(self._wrap_message(b"\x03\xe8", FrameOpcode.CLOSE))
        except OSError:
            self.ended = True
        finally:
            self._connection.close()

    def _read(self, buffer: memoryview) -> int:
        try:
            return self._connection.recv_into(buffer)
        except ssl.SSLEOFError:
            return 0

    def _take(self, received: memoryview) -> list[memoryview]:
        messages = []
        for opcode, payload in self._frames.feed(received):
            if opcode is FrameOpcode.CLOSE:
                self.ended = True
                self.close_reason = websocket.read_close_reason(payload)
                break
            if opcode is FrameOpcode.PING:
                # Only the last of several pings is answered (RFC 6455, 5.5.3), so that pending output is bounded.
                self._pong = self._wrap_message(bytes(payload), FrameOpcode.PONG)
            elif opcode is not FrameOpcode.PONG and payload:
                messages.append(payload)
        return messages

    def _wrap_message(self, payload: bytes, opcode: FrameOpcode) -> bytes:
        return websocket.frame_payload(payload, opcode, os.urandom(4) if self._masked else b"\0\0\0\0")

    def _send(self, content: bytes | memoryview) -> int:
        try:
            return self._connection.send(content)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0


_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def upgrade_connection(
    stream: socket.socket, target: str, headers: Mapping[str, str], protocols: Sequence[str], timeout: float
) -> WebSocket:
    """Upgrade ``stream`` to a WebSocket that speaks one of ``protocols``; ``timeout`` is in seconds.

    Raises KubeError if the server refuses (a Forbidden names the verb: servers up to 1.34 ask for ``get``, from 1.35
    for ``create``), OSError if the connection breaks and MalformedResponse if the response is not HTTP.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    asked = {
        **headers,
        # The header reaches the kubelet, which answers 406 to a request for JSON from a stream.
        "Accept": "*/*",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": ", ".join(protocols),
    }
    connection, response = ApiConnection(stream), ResponseReader()
    deadline = time.monotonic() + timeout
    connection.send(http1.encode_request("GET", target, asked), deadline)
    head, body = connection.read_head(response, deadline)
    if head.status != 101:
        body = connection.read_rest(response, body, deadline)
        raise make_kube_error(head.status, body, f"GET {target.partition('?')[0]}")
    return WebSocket(stream, protocol=_verify_upgrade(head, key, protocols), received=response.rest)


def compute_accept(key: str) -> str:
    """Compute the Sec-WebSocket-Accept value that a server must return for ``key``."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _verify_upgrade(head: ResponseHead, key: str, protocols: Sequence[str]) -> str:
    """Return the negotiated protocol. Raises KubeError if the response is not a valid WebSocket upgrade."""
    if head.headers.get("sec-websocket-accept") != compute_accept(key):
        raise KubeError("the API server, or a proxy in front of it, does not support WebSocket", status=101)
    protocol = head.headers.get("sec-websocket-protocol", "")
    if protocol not in protocols:
        raise KubeError(f"the API server supports none of {', '.join(protocols)}", status=101)
    return protocol
