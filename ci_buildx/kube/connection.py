"""HTTP over one connection to the API server, and the idle ones kept for the next call."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time

from ci_buildx.kube.dial import Dialer
from ci_buildx.kube.http1 import Head, MalformedResponse, Response

LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that is read whole: a page of 500 objects has a few MiB."""
_IDLE = 4
_SIZE = 64 << 10


class Connection:
    """One connection, with one call at a time."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.reused = False

    def close(self) -> None:
        """Close it."""
        self.stream.close()

    def abort(self) -> None:
        """End it from another thread: what waits for it gets an end of file."""
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    @property
    def stale(self) -> bool:
        """Whether an idle connection was closed by the server, or has something to say that nobody asked for."""
        poll = select.poll()
        poll.register(self.stream, select.POLLIN)
        if not poll.poll(0):
            return False
        self.stream.settimeout(0)
        try:
            self.stream.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Tickets that follow the handshake of TLS 1.3 (RFC 8446, 4.6.1): reading takes them in without a word.
            return False
        except OSError:
            return True
        return True

    def send(self, request: bytes, deadline: float) -> None:
        """Send all of a request. Raises OSError."""
        self.stream.settimeout(max(deadline - time.monotonic(), 0.001))
        self.stream.sendall(request)

    def head(self, response: Response, deadline: float) -> tuple[Head, bytes]:
        """Read until the response's head is there; gives it and what came of the body. Raises OSError, ValueError."""
        while response.head is None:
            body = self.receive(response, deadline)
        return response.head, body

    def receive(self, response: Response, deadline: float) -> bytes:
        """Read once; ``b""`` may mean that nothing of the body came. TimeoutError at ``deadline`` does no harm."""
        self.stream.settimeout(max(deadline - time.monotonic(), 0.001))
        received = self.stream.recv(_SIZE)
        if received:
            return response.feed(received)
        if not response.started:
            raise ConnectionResetError("the server closed the connection without an answer")
        response.end()
        return b""

    def exchange(self, request: bytes, deadline: float) -> tuple[Head, bytes]:
        """Send a request and read all of its response. Raises OSError or MalformedResponse."""
        self.send(request, deadline)
        response = Response()
        head, body = self.head(response, deadline)
        whole = self.read_rest(response, body, deadline)
        if response.rest:
            raise MalformedResponse("the server sent more than one response")
        return head, whole

    def read_rest(self, response: Response, begun: bytes, deadline: float) -> bytes:
        """Return all of a body, whose beginning was read. Raises OSError or MalformedResponse."""
        parts, size = [begun], len(begun)
        while not response.finished:
            parts.append(self.receive(response, deadline))
            size += len(parts[-1])
            if size > LARGEST_ANSWER:
                raise MalformedResponse(f"the answer has more than {LARGEST_ANSWER} bytes")
        return b"".join(parts)


class Pool:
    """Connections to one server, kept open between calls; thread-safe."""

    def __init__(self, dialer: Dialer, dial_timeout: float) -> None:
        self._dialer = dialer
        self._dial_timeout = dial_timeout
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self.closed = False

    def take(self) -> Connection:
        """An idle connection that still lives, else a new one. Raises Unreachable."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return Connection(self._dialer.open(self._dial_timeout))
            if not connection.stale:
                connection.reused = True
                return connection
            connection.close()

    def put_back(self, connection: Connection) -> None:
        """Keep a connection whose response was read to its end."""
        with self._lock:
            if not self.closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """Close the idle connections: they carry a client certificate that is no longer valid."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle connections and keep none from now on."""
        self.closed = True
        self.forget()
