"""Loading an image into a docker daemon while buildkitd sends it.

Source: moby/moby v28, ``api/swagger.yaml`` (``ImageLoad``): a tar file, answered by JSON messages, one of which may
hold ``error`` after a status of 200.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.errors import KubeBuilderError
from ci_buildx.settings.values import DockerDaemon
from ci_buildx.wire import http1

_PATH = "/images/load?quiet=1"
_LARGEST_ANSWER = 1 << 20
_PIECE = 1 << 16
_CONNECT = 10.0
"""Timeout in seconds for connecting to a daemon. Loading an image has no timeout."""


@contextmanager
def open_image_load(daemon: DockerDaemon) -> Iterator[ImageLoader]:
    """Yield a loader for the image's tar file; after a successful exit the daemon has the image.

    Raises KubeBuilderError with the daemon's reason.
    """
    try:
        with _connect(daemon) as connection:
            connection.sendall(http1.encode_request("POST", _PATH, _headers(daemon), chunked=True))
            loader = ImageLoader(connection)
            yield loader
            connection.sendall(http1.LAST_CHUNK)
            _check_response(*_answer(connection))
    except (OSError, http1.MalformedResponse) as error:
        raise KubeBuilderError(f"the docker daemon ended the connection: {error}") from error


class ImageLoader:
    """Sends the pieces of an image to a docker daemon."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes, /) -> None:
        """Send a piece; empty pieces are skipped, because an empty chunk would end the body."""
        if data:
            self._connection.sendall(http1.encode_chunk(data))


def _connect(daemon: DockerDaemon) -> socket.socket:
    if daemon.socket is None:
        connection = socket.create_connection((daemon.host, daemon.port), timeout=_CONNECT)
    else:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_CONNECT)
            connection.connect(str(daemon.socket))
        except OSError:
            connection.close()
            raise
    connection.settimeout(None)
    return connection


def _headers(daemon: DockerDaemon) -> dict[str, str]:
    host = f"[{daemon.host}]" if ":" in daemon.host else daemon.host
    return {"Host": f"{host}:{daemon.port}" if daemon.socket is None else "docker", "Content-Type": "application/x-tar"}


def _answer(connection: socket.socket) -> tuple[http1.ResponseHead, bytes]:
    """Read the daemon's response, at most :data:`_LARGEST_ANSWER` bytes of its body."""
    response = http1.ResponseReader()
    body = b""
    while not response.finished and len(body) < _LARGEST_ANSWER:
        received = connection.recv(_PIECE)
        if received:
            body += response.feed(received)
        else:
            response.end()
    if response.head is None:
        raise http1.MalformedResponse("no answer")
    return response.head, body[:_LARGEST_ANSWER]


def _check_response(head: http1.ResponseHead, body: bytes) -> None:
    reasons = list(_list_reasons(body))
    if head.status != 200:
        raise KubeBuilderError(f"the docker daemon refused it: {' '.join(reasons) or head.reason or head.status}")
    if reasons:
        raise KubeBuilderError(f"the docker daemon could not load it: {' '.join(reasons)}")


def _list_reasons(answer: bytes) -> Iterator[str]:
    """Yield the error messages: ``error`` of a message in the stream, ``message`` of a refusal."""
    for line in answer.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            for key in ("error", "message"):
                if isinstance(message.get(key), str):
                    yield message[key]
