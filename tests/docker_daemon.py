"""A socket that takes images as a docker daemon does: there is no daemon where the tests run."""

from __future__ import annotations

import io
import socketserver
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path


@dataclass
class DockerDaemon:
    """``answer`` is what it says to an image, after ``pause`` (s); ``loaded`` are the tar files that have come whole.

    ``port`` is that of the TCP address where it listens, 0 at a socket.
    """

    port: int = 0
    pause: float = 0.0
    status: int = 200
    answer: bytes = b'{"stream":"Loaded image: app:1\\n"}\n'
    loaded: list[bytes] = field(default_factory=list)

    def names(self) -> list[str]:
        """What is in the last image."""
        with tarfile.open(fileobj=io.BytesIO(self.loaded[-1])) as archive:
            return archive.getnames()


@contextmanager
def listening(path: Path | None = None) -> Iterator[DockerDaemon]:
    """Listen at ``path``, without one at a TCP port."""
    daemon = DockerDaemon()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = b""
            while size := int(self.rfile.readline() or b"0", 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            if not self.rfile.readline():
                return
            if self.path.startswith("/images/load"):
                daemon.loaded.append(content)
            time.sleep(daemon.pause)
            self.send_response(daemon.status)
            self.send_header("Content-Length", str(len(daemon.answer)))
            self.end_headers()
            self.wfile.write(daemon.answer)

        def address_string(self) -> str:
            return "client"

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    with _server(path, Answers) as server:
        daemon.port = 0 if path else server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join()


def _server(
    path: Path | None, answers: type[BaseHTTPRequestHandler]
) -> socketserver.TCPServer | socketserver.UnixStreamServer:
    if path is None:
        return socketserver.ThreadingTCPServer(("127.0.0.1", 0), answers)
    return socketserver.ThreadingUnixStreamServer(str(path), answers)
