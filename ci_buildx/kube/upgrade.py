"""The handshake that makes a WebSocket of a connection to the API server (RFC 6455, 4)."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Mapping, Sequence

from ci_buildx.errors import KubeError
from ci_buildx.kube import http1
from ci_buildx.kube.connection import Connection
from ci_buildx.kube.http1 import Head, Response
from ci_buildx.kube.refusal import refusal
from ci_buildx.kube.stream import WebSocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def upgrade(
    stream: socket.socket, target: str, headers: Mapping[str, str], protocols: Sequence[str], timeout: float
) -> WebSocket:
    """Ask for a WebSocket with one of ``protocols``.

    Raises KubeError where the server refuses (a Forbidden names the verb: servers up to 1.34 ask for ``get``, from
    1.35 for ``create``), OSError where the connection breaks and MalformedResponse where the answer is not HTTP.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    asked = {
        **headers,
        # The kubelet, to which this is passed on, answers 406 to whoever wants JSON from a stream.
        "Accept": "*/*",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": ", ".join(protocols),
    }
    connection, response = Connection(stream), Response()
    deadline = time.monotonic() + timeout
    connection.send(http1.request("GET", target, asked), deadline)
    head, body = connection.head(response, deadline)
    if head.status != 101:
        body = connection.read_rest(response, body, deadline)
        raise refusal(head.status, body, f"GET {target.partition('?')[0]}")
    return WebSocket(stream, protocol=_verified(head, key, protocols), received=response.rest)


def accept(key: str) -> str:
    """What a server answers to ``key`` in Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _verified(head: Head, key: str, protocols: Sequence[str]) -> str:
    """The protocol that was agreed on. Raises KubeError for an answer that is no WebSocket's."""
    if head.headers.get("sec-websocket-accept") != accept(key):
        raise KubeError("the API server, or a proxy before it, does not speak WebSocket", status=101)
    protocol = head.headers.get("sec-websocket-protocol", "")
    if protocol not in protocols:
        raise KubeError(f"the API server speaks none of {', '.join(protocols)}", status=101)
    return protocol
