"""An API server that misbehaves on cue: faults that a real one cannot be made to show."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

DROP = b""
"""A reaction: close the connection instead of answering."""


_TLS_HANDSHAKE = b"\x16"


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """A response with a JSON body."""
    content = json.dumps({} if body is None else body).encode()
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def refused(status: int, reason: str, message: str = "no", **headers: str) -> bytes:
    """A response with a metav1.Status."""
    return answer(status, {"kind": "Status", "code": status, "reason": reason, "message": message}, **headers)


def events(*lines: object) -> bytes:
    """The response of a watch whose connection the server then closes."""
    return b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@dataclass
class Scripted:
    """Reacts to the n-th request with ``script[n]``, to any further one with the last; notes what was asked."""

    script: Sequence[bytes]
    port: int = 0
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """Method and target of each request."""
        return [request.split(" HTTP/")[0] for request in self.requests]

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            if stream.peek(1)[:1] == _TLS_HANDSHAKE:
                connection.sendall(self.script[0])
                return
            while head := self._head(stream.readline, stream.read):
                self.requests.append(head)
                reaction = self.script[min(len(self.requests), len(self.script)) - 1]
                if not reaction:
                    return
                connection.sendall(reaction)
                if b"Content-Length" not in reaction and b" 101 " not in reaction:
                    return

    def _head(self, readline: object, read: object) -> str:
        assert callable(readline)
        assert callable(read)
        lines = []
        while (line := readline()) not in (b"\r\n", b""):
            lines.append(line.decode().strip())
        sizes = [line.split(": ")[1] for line in lines if line.startswith("Content-Length: ")]
        self.bodies.append(read(int(sizes[0])) if sizes else b"")
        return "\n".join(lines)


@contextmanager
def scripted(*script: bytes, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Scripted]:
    """A server on a port of the loopback address (0: any), gone on exit."""
    server = Scripted(script)
    with socket.create_server(("127.0.0.1", port)) as listener:
        server.port = listener.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=greet, args=(connection,), daemon=True).start()

        def greet(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                server.serve(tls.wrap_socket(connection, server_side=True) if tls else connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
