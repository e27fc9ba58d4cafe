"""A proxy for the web: CONNECT for TLS, requests in absolute form for the rest (RFC 9112, section 3.2)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from devcluster.relay import pump

_HOP = re.compile(rb"\r\n(?:Proxy-)?Connection: [^\r]*", re.IGNORECASE)


class WebProxy:
    """``address`` is on loopback; ``asked`` are the hosts, with ports, that it was asked for, by method."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[tuple[str, str]] = []

    def serve(self) -> None:
        """Accept until the proxy is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(near,), daemon=True).start()

    def close(self) -> None:
        """Take nothing new."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer(self, near: socket.socket) -> None:
        with near, suppress(OSError, ValueError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1) or b"\r\n\r\n"
            method, target, _ = head.split(b" ", 2)
            name = target.decode() if method == b"CONNECT" else urlsplit(target).netloc.decode()
            self.asked.append((method.decode(), name))
            host, _, port = name.rpartition(":")
            with socket.create_connection((host, int(port))) as far:
                if method == b"CONNECT":
                    near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    far.sendall(_in_origin_form(head, target))
                back = threading.Thread(target=pump, args=(far, near))
                back.start()
                pump(near, far)
                back.join()


def _in_origin_form(head: bytes, target: bytes) -> bytes:
    """One request for each connection, so that nothing after it must be rewritten."""
    path = b"/" + target.split(b"/", 3)[3]
    return _HOP.sub(b"", head.replace(target, path, 1))[:-2] + b"Connection: close\r\n\r\n"


@contextmanager
def proxying() -> Iterator[WebProxy]:
    """A proxy for the time of a test."""
    proxy = WebProxy()
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
