"""Through a proxy to an API server with TLS; over an https proxy that is TLS inside TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_buildx.errors import Unreachable
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.credentials import Anonymous
from ci_buildx.kube.exchange import RetryPolicy
from ci_buildx.kube.proxy import Proxy
from ci_buildx.kube.tls import TlsSettings, open_relay
from ci_buildx.model.secret import Secret
from tests.unit.kube.authority import Authority
from tests.unit.kube.scripted import answer, scripted


@contextmanager
def proxy(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A proxy for CONNECT on the loopback address; gives its port and what it was asked."""
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            asked.append(head.decode())
            host, _, port = head.split()[1].decode().rpartition(":")
            target = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            # The relay moves bytes between a socket and any other one, as the proxy must.
            near = open_relay(target)
            with near:
                threading.Thread(target=copy, args=(near, client), daemon=True).start()
                copy(client, near)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while received := source.recv(1 << 16):
                target.sendall(received)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client = tls.wrap_socket(client, server_side=True) if tls else client
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("secure", [False, True])
def test_a_large_answer_comes_through(secure: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, proxys = Authority(), Authority("proxy authority")

    (tmp_path / "proxy.pem").write_bytes(proxys.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "proxy.pem"))
    content = {"large": "x" * 300_000}
    with (
        scripted(answer(200, content), tls=authority.server()) as server,
        proxy(proxys.server() if secure else None) as (port, asked),
    ):
        through = Proxy(host="127.0.0.1", port=port, secure=secure, authorization=Secret("Basic bWU6"))
        cluster = ClusterAccess(
            server=f"https://127.0.0.1:{server.port}",
            tls=TlsSettings(authority=authority.pem),
            proxy=through,
            credentials=Anonymous(),
        )
        client = KubeClient(cluster)
        assert client.get("/x") == content
        assert client.get("/y") == content
        client.close()
        assert len(asked) == 1
        assert "Proxy-Authorization: Basic bWU6\r\n" in asked[0]


def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    through = Proxy(host="127.0.0.1", port=port, source="HTTPS_PROXY")
    cluster = ClusterAccess(server="https://api.example", proxy=through, credentials=Anonymous())
    client = KubeClient(cluster, retry=RetryPolicy(attempts=1))
    with pytest.raises(Unreachable, match=rf"proxy 127.0.0.1:{port} \(HTTPS_PROXY\) did not respond"):
        client.get("/x")
