"""What grpcio's errors say, without importing grpcio to ask."""

from __future__ import annotations

from typing import Any

from ci_buildx.errors import BuildkitError

_DETAILS = "grpc-status-details-bin"
_CONNECTION_LOST = ("UNAVAILABLE", "CANCELLED")


def code_name(error: Any) -> str:
    """The status, ``UNAVAILABLE`` for example; what has none was cancelled on our side."""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and code() is not None else "CANCELLED"


def code_number(error: Any) -> int:
    """The status as the wire has it; 2, unknown, for what has none."""
    code = getattr(error, "code", None)
    return int(code().value[0]) if callable(code) and code() is not None else 2


def text(error: Any) -> str:
    """The status's message on one line."""
    details = getattr(error, "details", None)
    found = details() if callable(details) else str(error)
    return " ".join(str(found or "").split())


def describe(error: Any) -> str:
    """The message as BuildKit's clients print it: with Go's name of the code, where that says something."""
    name, message = code_name(error), text(error)
    if name in ("OK", "UNKNOWN"):
        return message
    spelled = "Canceled" if name == "CANCELLED" else "".join(word.capitalize() for word in name.split("_"))
    return f"{spelled}: {message}"


def read_details(error: Any) -> bytes:
    """The serialized ``google.rpc.Status`` that buildkitd adds to errors of its own; b"" where there is none."""
    metadata = getattr(error, "trailing_metadata", None)
    pairs = metadata() if callable(metadata) else ()
    return next((bytes(value) for name, value in pairs or () if name == _DETAILS), b"")


def is_lost(error: Any) -> bool:
    """Whether the call may have ended because the connection did; look for details first."""
    return code_name(error) in _CONNECTION_LOST


def translate(error: Any, what: str) -> BuildkitError:
    """The error for a call that failed outside of a build; ``what`` says which."""
    name, message = code_name(error), text(error)
    return BuildkitError(f"{what}: {message or name}", code=name)
