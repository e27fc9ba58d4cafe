"""A TCP relay in front of a server: a network that drops what is open, and lets new connections through."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_REPLY_TIME = 5.0
"""Seconds in which a client must send its request, and read an answer that leads nowhere."""


class Relay:
    """``port`` on ``host``, loopback by default, leads to ``target``."""

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self.silent = threading.Event()
        """While it is set, what comes is taken and goes nowhere: neither side hears a word, also of new connections."""
        self.answer = b""
        """If it is set, new connections get it as their answer, whatever they send, and lead nowhere."""
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Accept until the relay is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.answer:
                    threading.Thread(target=reply, args=(near, self.answer), daemon=True).start()
                    continue
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(source, sink, self.silent), daemon=True).start()

    def cut(self) -> None:
        """End everything that is open."""
        cut, self._open = self._open, []
        for each in cut:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """End everything, and take nothing new."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@contextmanager
def relaying(host: str, port: int, *, at: str = "127.0.0.1") -> Iterator[Relay]:
    """A relay on the address ``at`` for the time of a test."""
    relay = Relay((host, port), host=at)
    threading.Thread(target=relay.serve, daemon=True).start()
    try:
        yield relay
    finally:
        relay.close()


@contextmanager
def relaying_kubeconfig(kubeconfig: Path, folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Provide a kubeconfig in ``folder`` that goes through a relay, and the function that cuts its connections."""
    found = json.loads(kubeconfig.read_text())
    server = found["clusters"][0]["cluster"]
    place = urlsplit(server["server"])
    assert place.hostname
    assert place.port
    with relaying(place.hostname, place.port) as relay:
        server |= {"server": f"https://127.0.0.1:{relay.port}", "tls-server-name": place.hostname}
        path = folder / "relayed.kubeconfig"
        path.write_text(json.dumps(found))
        yield path, relay.cut


def reply(near: socket.socket, answer: bytes) -> None:
    """Send ``answer`` after the first bytes of a request, then take the rest of the request."""
    with near, suppress(OSError):
        near.settimeout(_REPLY_TIME)
        near.recv(1 << 16)
        near.sendall(answer)
        near.shutdown(socket.SHUT_WR)
        while near.recv(1 << 16):
            pass


def pump(source: socket.socket, sink: socket.socket, silent: threading.Event | None = None) -> None:
    """Move what comes, unless it is ``silent``, and the end of it; then neither is open."""
    with suppress(OSError):
        while received := source.recv(1 << 16):
            if silent is None or not silent.is_set():
                sink.sendall(received)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
