"""The gRPC channel to a buildkitd: grpcio, imported when the first one is opened."""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any

from ci_buildx.model.deferred import deferred
from ci_buildx.session.session import PATIENCE

# Half of grpcio 1.85's import time is that of its asyncio side; traceback compiles patterns, for logging's errors.
_UNUSED = ("asyncio", "grpc.aio", "inspect", "pkgutil", "traceback")
_UNLIMITED = -1
LARGEST_ANSWER = 17 << 20
"""Bytes of a message: BuildKit 0.34.2 sends 16 MiB at most (containerd ``defaults.DefaultMaxSendMsgSize``)."""
_METADATA_SIZE = 16 << 20
# buildkitd tolerates no pings more often than every 5 minutes on an idle connection (grpc-go's default), but while
# a session is open it answers the session's own pings every few seconds, and what it sends clears its count of pings.
_KEEPALIVE_MS = 20_000
# How long a ping, and as TCP_USER_TIMEOUT any byte, may wait for its answer. After a cut of 60 s TCP may send again
# only after 120 s, because it doubles its pauses (RFC 6298, 5.5).
_PATIENCE_MS = int(PATIENCE * 1000)


@cache
def load_grpc() -> ModuleType:
    """grpcio, told to print nothing of its own and to keep out of forks, which are none of its business here.

    With a first channel, which goes nowhere, it imports the rest of itself and starts its core: whoever loads it early
    spares that to the one who waits for an answer.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with deferred(*_UNUSED):
        import grpc

        grpc.insecure_channel("unix:").close()
    return grpc  # type: ignore[no-any-return]


def open_channel(target: str, *, credentials: tuple[bytes, bytes, bytes] | None, server_name: str) -> Any:
    """A channel to ``target``; ``credentials`` are CA, certificate and key as PEM, None for plain text.

    It never goes through a proxy: pods and tunnels are reached directly or not at all.
    """
    grpc = load_grpc()
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
        # Error details carry the whole Dockerfile.
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
