"""Registries that answer anything at all: an answer or one line that names them, soon and with little memory."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, Repository
from ci_buildx.registry.connection import Patience
from ci_buildx.registry.content import LARGEST_MANIFEST
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.dockerconfig import DockerConfig
from ci_buildx.registry.trust import Trust

ENDLESS = 1 << 26
"""Bytes of an answer that nobody would wait for."""


@dataclass
class Hostile:
    """A server that reads a request, sends ``head`` and then ``piece``, ``repeats`` times; then it hangs up."""

    address: str
    head: bytes = b""
    piece: bytes = b""
    repeats: int = 0


@contextmanager
def hostile() -> Iterator[Hostile]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Hostile(f"127.0.0.1:{listener.getsockname()[1]}")

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(server.head)
                for _ in range(server.repeats):
                    connection.sendall(server.piece)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    with hostile() as found:
        yield found


def look(server: Hostile, head: bytes, piece: bytes = b"", *, repeats: int = 0) -> str:
    """Read a manifest, as somebody who has heard nothing yet; why that failed, "" if it did not."""
    server.head, server.piece, server.repeats = head, piece, repeats
    store = CredentialStore([DockerConfig(origin="test", auths={}, helpers={}, store="")], env={})
    patience = Patience(attempts=2, silence=5.0, sleep=lambda _: None)
    try:
        with RegistryClient(store, trust=Trust(plain=frozenset({server.address})), patience=patience) as client:
            client.manifest(Repository(server.address, "a/b"), "tag")
    except RegistryError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 600
        return line
    return ""


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 401 Unauthorized\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\n",
        b"HTTP/1.1 307 Away\r\nLocation: http://[\r\n",
        b"HTTP/1.1 999 \r\n",
        b"HTTP/9 x\r\n",
        b"",
    ]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: x\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b'WWW-Authenticate: Bearer realm="http://[/",service=\r\n',
            b'WWW-Authenticate: Basic realm="\r\n',
            b"Docker-Content-Digest: sha256:zz\r\n",
            b"Content-Type: application/vnd.oci.image.index.v1+json\r\n",
            b"\xff\x00: \xff\r\n",
        ]
    ),
    max_size=4,
).map(b"".join)
BODIES = st.binary(max_size=20) | st.sampled_from(
    [b"zz\r\n", b"5\r\n{}", b"[" * 2000, b'{"errors": [[]]}', b'{"manifests": 7}']
)


@settings(max_examples=30)
@given(head=HEADS, headers=HEADERS, body=BODIES)
def test_any_answer(server: Hostile, head: bytes, headers: bytes, body: bytes) -> None:
    look(server, head + headers + b"Connection: close\r\n\r\n" + body)


@settings(max_examples=30)
@given(answer=st.binary(max_size=60))
def test_any_bytes(server: Hostile, answer: bytes) -> None:
    assert look(server, answer)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "piece", "said"),
    [
        (OK + b"\r\n", b"x" * 65536, f"sent more than {LARGEST_MANIFEST} bytes for /v2/a/b/manifests/tag"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", "sent more than"),
        (OK, b"A: b\r\n" * 100, ""),
        (OK + b"A: ", b"b" * 65536, ""),
    ],
    ids=["body", "chunks", "headers", "header"],
)
def test_an_answer_without_end_is_left(server: Hostile, head: bytes, piece: bytes, said: str) -> None:
    line = look(server, head, piece, repeats=ENDLESS // len(piece))
    assert said in line
    assert server.address in line


def test_errors_without_end_are_cut(server: Hostile) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "long " * 10_000}]}).encode()
    head = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert "X: long long" in look(server, head + body)
