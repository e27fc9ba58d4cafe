"""Helpers for grpcio: channels to buildkitd, and the content of errors; grpcio is imported on first use."""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any

from ci_buildx.errors import BuildkitError
from ci_buildx.model.lazy import defer_modules
from ci_buildx.session.session import PATIENCE

_DETAILS = "grpc-status-details-bin"
_CONNECTION_LOST = ("UNAVAILABLE", "CANCELLED")


def read_code_name(error: Any) -> str:
    """Return the name of the status, such as ``UNAVAILABLE``; an error without one was cancelled on our side."""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and code() is not None else "CANCELLED"


def read_code_number(error: Any) -> int:
    """Return the number of the status; 2 (unknown) for an error without one."""
    code = getattr(error, "code", None)
    return int(code().value[0]) if callable(code) and code() is not None else 2


def read_text(error: Any) -> str:
    """Return the status message as a single line."""
    details = getattr(error, "details", None)
    found = details() if callable(details) else str(error)
    return " ".join(str(found or "").split())


def describe_error(error: Any) -> str:
    """Return the message as BuildKit's clients print it: with Go's name of the code, if informative."""
    name, message = read_code_name(error), read_text(error)
    if name in ("OK", "UNKNOWN"):
        return message
    spelled = "Canceled" if name == "CANCELLED" else "".join(word.capitalize() for word in name.split("_"))
    return f"{spelled}: {message}"


def read_details(error: Any) -> bytes:
    """Return the serialized ``google.rpc.Status`` that buildkitd adds to its own errors; b"" if missing."""
    metadata = getattr(error, "trailing_metadata", None)
    pairs = metadata() if callable(metadata) else ()
    return next((bytes(value) for name, value in pairs or () if name == _DETAILS), b"")


def is_connection_lost(error: Any) -> bool:
    """Return whether a lost connection may have ended the call; check the details first."""
    return read_code_name(error) in _CONNECTION_LOST


def translate_error(error: Any, what: str) -> BuildkitError:
    """Return the error for a call that failed outside of a build; ``what`` describes the failed call."""
    name, message = read_code_name(error), read_text(error)
    return BuildkitError(f"{what}: {message or name}", code=name)


# Half of grpcio 1.85's import time is its asyncio support; traceback compiles patterns, for logging's errors.
_UNUSED = ("asyncio", "copy", "grpc.aio", "inspect", "pkgutil", "traceback")
_UNLIMITED = -1
LARGEST_ANSWER = 17 << 20
"""Maximum size in bytes of a received message: BuildKit 0.34.2 sends at most 16 MiB (containerd
``defaults.DefaultMaxSendMsgSize``).
"""
_METADATA_SIZE = 16 << 20
# On an idle connection buildkitd tolerates one ping per 5 minutes (grpc-go's default). But while a session is open
# it answers the session's own pings every few seconds, and each message it sends resets its count of pings.
_KEEPALIVE_MS = 20_000
# Milliseconds that a ping, and as TCP_USER_TIMEOUT any byte, may stay unanswered. After an outage of 60 s TCP may not
# retransmit before 120 s have passed, because it doubles its pauses (RFC 6298, 5.5).
_PATIENCE_MS = int(PATIENCE * 1000)


@cache
def load_grpc() -> ModuleType:
    """Return grpcio, configured to print nothing and with its fork support disabled, which is not needed here.

    Opening a dummy channel imports the rest of grpcio and starts its core: calling this early takes that time off the
    first real connection.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with defer_modules(*_UNUSED):
        import grpc

        grpc.insecure_channel("unix:").close()
    return grpc  # type: ignore[no-any-return]


def open_channel(target: str, *, credentials: tuple[bytes, bytes, bytes] | None, server_name: str) -> Any:
    """Return a channel to ``target``; ``credentials`` are CA, certificate and key as PEM, None for plain text.

    Never uses a proxy: pods and tunnels are only reachable directly.
    """
    grpc = load_grpc()
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
        # Error details contain the whole Dockerfile.
        ("grpc.max_metadata_size", _METADATA_SIZE),
        ("grpc.absolute_max_metadata_size", _METADATA_SIZE),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _PATIENCE_MS),
        ("grpc.http2.ping_timeout_ms", _PATIENCE_MS),
        ("grpc.default_authority", server_name or "localhost"),
    ]
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    ca, certificate, key = credentials
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    secure = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)
    return grpc.secure_channel(target, secure, options=options)
