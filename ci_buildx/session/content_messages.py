"""Messages of the content service; ``content.proto`` is their definition."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ci_buildx.protobuf.schema import BYTES, INTEGER, TEXT, TIME, Schema, one


class Action(IntEnum):
    """What a write request wants."""

    STAT = 0
    WRITE = 1
    COMMIT = 2


class Info(NamedTuple):
    """What is known of a blob: size in bytes, times in seconds since the epoch."""

    digest: str = ""
    size: int = 0
    created_at: float | None = None
    updated_at: float | None = None


class InfoRequest(NamedTuple):
    """Asks whether a blob is there."""

    digest: str = ""


class InfoResponse(NamedTuple):
    """It is."""

    info: Info | None = None


class ReadRequest(NamedTuple):
    """Asks for ``size`` bytes (0: all that is left) of a blob from ``offset`` on."""

    digest: str = ""
    offset: int = 0
    size: int = 0


class ReadResponse(NamedTuple):
    """A piece of it."""

    offset: int = 0
    data: bytes = b""


class WriteRequest(NamedTuple):
    """A step of writing a blob; ``total`` and ``expected`` (its digest) are zero and empty while unknown."""

    action: int = Action.STAT
    total: int = 0
    expected: str = ""
    offset: int = 0
    data: bytes = b""


class WriteResponse(NamedTuple):
    """How far writing has come; ``digest`` is that of what was written so far."""

    action: int = Action.STAT
    offset: int = 0
    total: int = 0
    digest: str = ""


# Tables of content.proto, written by dev/protos.py.
_INFO = Schema(
    Info, one(1, "digest", TEXT), one(2, "size", INTEGER), one(3, "created_at", TIME), one(4, "updated_at", TIME)
)
INFO_REQUEST = Schema(InfoRequest, one(1, "digest", TEXT))
INFO_RESPONSE = Schema(InfoResponse, one(1, "info", _INFO))
READ_REQUEST = Schema(ReadRequest, one(1, "digest", TEXT), one(2, "offset", INTEGER), one(3, "size", INTEGER))
READ_RESPONSE = Schema(ReadResponse, one(1, "offset", INTEGER), one(2, "data", BYTES))
WRITE_REQUEST = Schema(
    WriteRequest,
    one(1, "action", INTEGER),
    one(3, "total", INTEGER),
    one(4, "expected", TEXT),
    one(5, "offset", INTEGER),
    one(6, "data", BYTES),
)
WRITE_RESPONSE = Schema(
    WriteResponse,
    one(1, "action", INTEGER),
    one(4, "offset", INTEGER),
    one(5, "total", INTEGER),
    one(6, "digest", TEXT),
)
# End of the tables.
