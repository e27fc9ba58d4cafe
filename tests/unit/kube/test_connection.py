"""Idle connections: which of them the next call may take."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.kube.connection import ApiConnection
from tests.unit.kube.authority import Authority

AUTHORITY = Authority()


@contextmanager
def connected() -> Iterator[tuple[ApiConnection, ssl.SSLSocket]]:
    """A client's connection by TLS 1.3 to which nothing was said yet, and the server's end of it."""
    near, far = socket.socketpair()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=AUTHORITY.pem.decode())
    client = trust.wrap_socket(near, server_hostname="127.0.0.1", do_handshake_on_connect=False)
    server = AUTHORITY.server().wrap_socket(far, server_side=True, do_handshake_on_connect=False)
    for end in (client, server):
        end.setblocking(False)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    with client, server:
        yield ApiConnection(client), server


def readable(connection: ApiConnection) -> bool:
    return bool(select.select([connection.stream], [], [], 5)[0])


def test_tickets_behind_the_handshake_make_no_connection_stale() -> None:
    with connected() as (connection, _):
        assert readable(connection)
        assert not connection.stale
        assert not connection.stale


def test_what_nobody_asked_for_and_an_end_do() -> None:
    with connected() as (connection, server):
        assert not connection.stale
        server.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert readable(connection)
        assert connection.stale
    with connected() as (connection, server):
        assert not connection.stale
        server.close()
        assert readable(connection)
        assert connection.stale
