"""HTTP/2 frames (RFC 9113, sections 4 and 6): layout, types, flags, error codes."""

from __future__ import annotations

import struct
from enum import IntEnum

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
        raise Http2Error("SETTINGS of a broken size", ErrorCode.FRAME_SIZE_ERROR)
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
        raise Http2Error("RST_STREAM or WINDOW_UPDATE of a broken size", ErrorCode.FRAME_SIZE_ERROR)
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
