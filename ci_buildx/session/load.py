"""An image goes to a docker daemon while it comes from buildkitd.

Source: moby/moby v28, ``api/swagger.yaml`` (``ImageLoad``): a tar file, answered by JSON messages, of which one may say
``error`` after a status of 200.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse

from ci_buildx.errors import KubeBuilderError
from ci_buildx.settings.values import Daemon

_PATH = "/images/load?quiet=1"
_LARGEST_ANSWER = 1 << 20
_CONNECT = 10.0
"""Seconds until a daemon has taken the connection. What it does with an image takes as long as it takes."""


@contextmanager
def loading(daemon: Daemon) -> Iterator[Loader]:
    """What takes the image's tar file. At a good end the daemon has the image; KubeBuilderError says why not."""
    connection = _connection(daemon)
    try:
        connection.connect()
        connection.sock.settimeout(None)
        connection.putrequest("POST", _PATH)
        connection.putheader("Content-Type", "application/x-tar")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        yield Loader(connection)
        connection.send(b"0\r\n\r\n")
        _check(connection.getresponse())
    except (OSError, HTTPException) as error:
        raise KubeBuilderError(f"the docker daemon ended the connection: {error}") from error
    finally:
        connection.close()


class Loader:
    """Sends pieces."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def write(self, data: bytes, /) -> None:
        """Send a piece; an empty one would be the end."""
        if data:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))


def _connection(daemon: Daemon) -> HTTPConnection:
    if daemon.socket is None:
        return HTTPConnection(daemon.host, daemon.port, timeout=_CONNECT)
    return _SocketConnection(str(daemon.socket))


class _SocketConnection(HTTPConnection):
    """HTTP at a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_CONNECT)
        self.sock.connect(self._path)


def _check(response: HTTPResponse) -> None:
    answer = response.read(_LARGEST_ANSWER)
    reasons = list(_reasons(answer))
    if response.status != 200:
        raise KubeBuilderError(f"the docker daemon refused it: {' '.join(reasons) or response.reason}")
    if reasons:
        raise KubeBuilderError(f"the docker daemon could not load it: {' '.join(reasons)}")


def _reasons(answer: bytes) -> Iterator[str]:
    """What went wrong: ``error`` of a message in the stream, ``message`` of a refusal."""
    for line in answer.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            for key in ("error", "message"):
                if isinstance(message.get(key), str):
                    yield message[key]
