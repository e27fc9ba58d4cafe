"""A connected WebSocket that never blocks: what a tunnel's poll loop drives."""

from __future__ import annotations

import os
import socket
import ssl

from ci_buildx.kube import websocket
from ci_buildx.kube.websocket import HEADER_LIMIT, Frames, Opcode

BUFFER = 256 << 10
"""Bytes of payload per frame, and read at once."""

_PREFIX = HEADER_LIMIT + 1


class WebSocket:
    """One WebSocket. Use it from one thread; it holds at most one outgoing frame and one read's worth of input.

    To send: write into :attr:`room`, then :meth:`dispatch`, then :meth:`flush` until it is True. ``ended`` turns true
    with the server's close or end of file; ``close_reason`` says why.
    """

    def __init__(self, connection: socket.socket, *, protocol: str, received: bytes = b"") -> None:
        connection.setblocking(False)
        self.protocol = protocol
        self.ended = False
        self.close_reason = ""
        self._connection = connection
        self._masked = not isinstance(connection, ssl.SSLSocket)
        self._frames = Frames()
        self._early = received
        self._incoming = memoryview(bytearray(BUFFER))
        self._frame = memoryview(bytearray(_PREFIX + BUFFER))
        self._unsent: memoryview = self._frame[:0]
        self._control = b""
        self._pong = b""
        self.room = self._frame[_PREFIX:]

    def fileno(self) -> int:
        """The socket, for poll. TLS may hold decrypted bytes: poll only after :meth:`receive` gave None."""
        return self._connection.fileno()

    @property
    def sending(self) -> bool:
        """Whether something dispatched has not been sent yet."""
        return bool(self._unsent) or bool(self._control) or bool(self._pong)

    @property
    def has_room(self) -> bool:
        """Whether :attr:`room` may be written and dispatched: what came before has gone out, to the last byte."""
        return not self.sending

    def dispatch(self, size: int, channel: int) -> None:
        """Frame the first ``size`` bytes of :attr:`room` in place, as a message on ``channel``."""
        key = os.urandom(4) if self._masked else b"\0\0\0\0"
        head = websocket.header(Opcode.BINARY, size + 1, key)
        start, end = HEADER_LIMIT - len(head), _PREFIX + size
        self._frame[start:HEADER_LIMIT] = head
        self._frame[HEADER_LIMIT] = channel
        if self._masked:
            self._frame[HEADER_LIMIT:end] = websocket.mask(self._frame[HEADER_LIMIT:end], key)
        self._unsent = self._frame[start:end]

    def flush(self) -> bool:
        """Send what can be sent now; True when nothing is left. Raises OSError when the connection broke."""
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
        """Data messages that have arrived, perhaps none yet; None when there is nothing to read now.

        The views are valid until the next call. Raises OSError or ProtocolError when the connection cannot go on.
        """
        if self._early:
            early, self._early = self._early, b""
            return self._take(memoryview(early))
        try:
            size = self._read(self._incoming)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not size:
            self.ended = True
            return []
        return self._take(self._incoming[:size])

    def close(self) -> None:
        """Say goodbye if that is possible at once, and close."""
        try:
            if not self.ended and not self.sending:
                self._send(self._wrapped(b"\x03\xe8", Opcode.CLOSE))
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
            if opcode is Opcode.CLOSE:
                self.ended = True
                self.close_reason = websocket.close_reason(payload)
                break
            if opcode is Opcode.PING:
                # Of several pings the last one is answered (RFC 6455, 5.5.3), so that what waits cannot grow.
                self._pong = self._wrapped(bytes(payload), Opcode.PONG)
            elif opcode is not Opcode.PONG and payload:
                messages.append(payload)
        return messages

    def _wrapped(self, payload: bytes, opcode: Opcode) -> bytes:
        return websocket.wrap(payload, opcode, os.urandom(4) if self._masked else b"\0\0\0\0")

    def _send(self, content: bytes | memoryview) -> int:
        try:
            return self._connection.send(content)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
