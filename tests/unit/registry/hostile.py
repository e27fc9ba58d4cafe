"""A server whose answers can be anything."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass
class Hostile:
    """A server that reads a request, sends ``head`` and then ``piece``, ``repeats`` times; then it hangs up.

    ``pause`` (s) is between the pieces; ``takes`` are the bytes that it reads of a request. ``tls`` is its half of TLS.
    """

    address: str
    tls: ssl.SSLContext | None = None
    head: bytes = b""
    piece: bytes = b""
    repeats: int = 0
    pause: float = 0.0
    takes: int = 1 << 16


@contextmanager
def hostile() -> Iterator[Hostile]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Hostile(f"127.0.0.1:{listener.getsockname()[1]}")

        def secured(connection: socket.socket) -> socket.socket:
            return server.tls.wrap_socket(connection, server_side=True) if server.tls else connection

        def serve(connection: socket.socket) -> None:
            with suppress(OSError), connection, secured(connection) as connection:
                connection.recv(server.takes)
                connection.sendall(server.head)
                for _ in range(server.repeats):
                    connection.sendall(server.piece)
                    time.sleep(server.pause)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
