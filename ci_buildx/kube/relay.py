"""A plain socket for what travels inside TLS, because Python cannot put TLS inside an SSLSocket.

Only an ``https://`` proxy needs it: TLS to the proxy, and in it TLS to the API server.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

_SIZE = 64 << 10


def unwrapped(secure: socket.socket) -> socket.socket:
    """The near end of a socket pair whose other end a thread relays to ``secure``; closing it ends both."""
    near, far = socket.socketpair()
    threading.Thread(target=_relay, args=(secure, far), name="tls-relay", daemon=True).start()
    return near


def _relay(secure: socket.socket, far: socket.socket) -> None:
    with secure, far, contextlib.suppress(OSError):
        secure.setblocking(False)
        far.setblocking(False)
        _Relay(secure, far).run()


class _Relay:
    """Moves bytes both ways, holding at most one buffer for each, until either side ends."""

    def __init__(self, secure: socket.socket, far: socket.socket) -> None:
        self._sockets = {secure: far, far: secure}
        self._held = {secure: b"", far: b""}

    def run(self) -> None:
        """Relay until the end of either side. Raises OSError when one breaks."""
        while True:
            moved = [self._move(source) for source in self._sockets]
            if None in moved:
                return
            if not any(moved):
                self._wait()

    def _move(self, source: socket.socket) -> bool | None:
        """Whether anything moved from ``source``; None at its end."""
        progress = False
        if not self._held[source]:
            received = _receive(source)
            if received == b"":
                return None
            self._held[source] = received or b""
            progress = received is not None
        if self._held[source]:
            sent = _send(self._sockets[source], self._held[source])
            self._held[source] = self._held[source][sent:]
            progress = progress or sent > 0
        return progress

    def _wait(self) -> None:
        poll = select.poll()
        for end, peer in self._sockets.items():
            events = (0 if self._held[end] else select.POLLIN) | (select.POLLOUT if self._held[peer] else 0)
            poll.register(end, events)
        poll.poll()


def _receive(source: socket.socket) -> bytes | None:
    """Bytes, ``b""`` at the end, None when there is nothing now."""
    try:
        return source.recv(_SIZE)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def _send(target: socket.socket, content: bytes) -> int:
    try:
        return target.send(content)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
