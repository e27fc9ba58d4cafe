"""WebSocket frames without I/O, as a client sends and receives them (RFC 6455).

Kubernetes sends a stream's channel number as the first byte of each message. Outgoing frames may use a mask key of
zero, so that the payload stays unchanged: masks protect proxies from scripts in browsers, and inside TLS no proxy can
read the frames. Servers accept any key (tested: golang.org/x/net/websocket and gorilla/websocket).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

MESSAGE_LIMIT = 16 << 20
"""Maximum bytes of a message from the server; the API server sends 32 KiB at a time."""

HEADER_LIMIT = 14
"""Bytes of the longest header: 2, an 8-byte length, a mask key."""

_CONTROL_LIMIT = 125
_MASKED = 0x80
_FINAL = 0x80


class FrameOpcode(IntEnum):
    """The type of a frame."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_KNOWN = frozenset(FrameOpcode)


class WebSocketError(ValueError):
    """The server violated the protocol; the connection is unusable."""


class WebSocketMessage(NamedTuple):
    """A whole message; the payload is a view that is valid until the next feed."""

    opcode: FrameOpcode
    payload: memoryview


class FrameReader:
    """Reads the server's frames from bytes that may be split anywhere."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._wanted = 0
        self._begun: bytearray | None = None
        self._opcode = FrameOpcode.CONTINUATION

    def feed(self, received: bytes | memoryview) -> list[WebSocketMessage]:
        """Return the messages that are complete now. Raises WebSocketError."""
        view = memoryview(received)
        if self._kept:
            self._kept += view
            if len(self._kept) < self._wanted:
                return []
            view = memoryview(self._kept)
        messages: list[WebSocketMessage] = []
        position = 0
        while (end := self._frame(view, position, messages)) > position:
            position = end
        self._kept = bytearray(view[position:])  # the messages may refer to the old one
        return messages

    def _frame(self, view: memoryview, start: int, messages: list[WebSocketMessage]) -> int:
        """Read one frame at ``start`` into ``messages``; return its end, or ``start`` if it is incomplete."""
        here = len(view) - start
        self._wanted = 2
        if here < 2:
            return start
        first, second = view[start], view[start + 1]
        head, size = 2, second & 0x7F
        if size >= 126:
            head = 4 if size == 126 else 10
            self._wanted = head
            if here < head:
                return start
            size = int.from_bytes(view[start + 2 : start + head], "big")
            if size < 126 or (head == 10 and size < 1 << 16):
                raise WebSocketError("a length is longer than its shortest encoding")
        self._check(first, second, size)
        self._wanted = head + size
        if here < self._wanted:
            return start
        end = start + head + size
        self._accept(first, view[start + head : end], messages)
        return end

    def _check(self, first: int, second: int, size: int) -> None:
        if first & 0x70:
            raise WebSocketError("reserved bits are set")
        if second & _MASKED:
            raise WebSocketError("the server masked a frame")
        opcode = first & 0x0F
        if opcode not in _KNOWN:
            raise WebSocketError(f"unknown opcode {opcode}")
        if opcode >= FrameOpcode.CLOSE:
            if size > _CONTROL_LIMIT or not first & _FINAL:
                raise WebSocketError("a control frame is too long or fragmented")
        elif (opcode == FrameOpcode.CONTINUATION) == (self._begun is None):
            raise WebSocketError("a continuation without a message, or a message before the last one ended")
        elif size + len(self._begun or b"") > self._limit:
            raise WebSocketError(f"a message is longer than {self._limit} bytes")

    def _accept(self, first: int, payload: memoryview, messages: list[WebSocketMessage]) -> None:
        opcode, final = FrameOpcode(first & 0x0F), bool(first & _FINAL)
        if opcode >= FrameOpcode.CLOSE or (final and self._begun is None):
            messages.append(WebSocketMessage(opcode, payload))
            return
        if self._begun is None:
            self._opcode, self._begun = opcode, bytearray()
        self._begun += payload
        if final:
            messages.append(WebSocketMessage(self._opcode, memoryview(self._begun)))
            self._begun = None


def make_frame_header(opcode: FrameOpcode, size: int, key: bytes = b"\0\0\0\0") -> bytes:
    """Make the header of a final frame with ``size`` bytes of payload, masked with ``key``."""
    first = bytes((_FINAL | opcode,))
    if size < 126:
        return first + bytes((_MASKED | size,)) + key
    if size < 1 << 16:
        return first + b"\xfe" + size.to_bytes(2, "big") + key
    return first + b"\xff" + size.to_bytes(8, "big") + key


def mask_payload(payload: bytes | memoryview, key: bytes) -> bytes:
    """Return ``payload`` XOR the repeated ``key``."""
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


def frame_payload(
    payload: bytes | memoryview, opcode: FrameOpcode = FrameOpcode.BINARY, key: bytes = b"\0\0\0\0"
) -> bytes:
    """Encode a whole frame around ``payload``."""
    return make_frame_header(opcode, len(payload), key) + (mask_payload(payload, key) if any(key) else bytes(payload))


def read_close_reason(payload: memoryview) -> str:
    """Return code and text of a CLOSE frame as ``1000 text``; "" if the frame is empty."""
    if len(payload) < 2:
        return ""
    code = int.from_bytes(payload[:2], "big")
    return f"{code} {bytes(payload[2:]).decode(errors='replace')}".strip()
