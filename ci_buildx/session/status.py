"""gRPC status codes that the session's services answer with (grpc, ``doc/statuscodes.md``)."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """A call's outcome."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
