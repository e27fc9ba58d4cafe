"""The socket for other programs, before a real server with mTLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.builder.builder import SERVER_NAME
from ci_buildx.builder.manifests import certificates
from ci_buildx.model.secret import Secret
from ci_buildx.transport import local_socket
from ci_buildx.transport.local_socket import EndpointDialer, open_local_socket
from ci_buildx.transport.race import PodEndpoint

ISSUED = certificates.issue(certificates.NAMES, 600)
PATIENCE = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that requires a client's certificate, and answers each line in capital letters."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "certificate").write_bytes(ISSUED.server.certificate)
    (tmp_path / "key").write_bytes(ISSUED.server.key.reveal())
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    context.load_verify_locations(cadata=ISSUED.ca.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, context), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    def answer(plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as secure:
                while content := secure.recv(1 << 16):
                    secure.sendall(content.upper())
        except OSError:
            plain.close()

    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(plain,), daemon=True).start()


def make_dialer(address: str, **changes: bytes) -> EndpointDialer:
    return EndpointDialer(
        endpoint=PodEndpoint(address, secure=True),
        authority=changes.get("ca", ISSUED.ca),
        certificate=ISSUED.client.certificate,
        key=ISSUED.client.key,
        server_name=SERVER_NAME,
    )


def connect(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(PATIENCE)
    found.connect(str(path))
    return found


def read_exactly(one: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (content := one.recv(size - len(found))):
        found += content
    return found


def test_bytes_pass_both_ways_on_several_connections(server: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_local_socket(path, make_dialer(server)), connect(path) as one, connect(path) as other:
        assert path.stat().st_mode & 0o777 == 0o600
        content = b"a" * (1 << 20)
        threading.Thread(target=one.sendall, args=(content,), daemon=True).start()
        other.sendall(b"hello")
        assert read_exactly(other, 5) == b"HELLO"
        assert read_exactly(one, len(content)) == content.upper()
    assert not path.exists()


def test_connections_end_with_the_socket(server: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_local_socket(path, make_dialer(server)):
        one = connect(path)
        one.sendall(b"x")
        assert read_exactly(one, 1) == b"X"
    with one:
        assert one.recv(1) == b""


def test_a_plain_endpoint_needs_no_certificate(tmp_path: Path) -> None:
    """Exec through the API server."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "gate"))
        listener.listen()
        dialer = EndpointDialer(
            endpoint=PodEndpoint(f"unix:{tmp_path / 'gate'}", secure=False),
            authority=b"",
            certificate=b"",
            key=Secret(b""),
            server_name="",
        )
        with open_local_socket(tmp_path / "s", dialer), connect(tmp_path / "s") as one:
            far, _ = listener.accept()
            with far:
                far.sendall(b"from the pod")
                assert read_exactly(one, 12) == b"from the pod"


def test_the_server_must_have_the_builders_certificate(server: str, tmp_path: Path) -> None:
    other = certificates.issue(certificates.NAMES, 600)
    with open_local_socket(tmp_path / "s", make_dialer(server, ca=other.ca)) as served, connect(tmp_path / "s") as one:
        assert one.recv(1) == b""
    assert "certificate verify failed" in served.failure


def test_a_pod_that_is_gone_ends_the_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with open_local_socket(tmp_path / "s", make_dialer(address)) as served, connect(tmp_path / "s") as one:
        assert one.recv(1) == b""
    assert "refused" in served.failure


def test_connections_have_a_bound(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MOST_CONNECTIONS is lowered: what is tested does not depend on its size."""
    monkeypatch.setattr(local_socket, "MOST_CONNECTIONS", 1)
    with open_local_socket(tmp_path / "s", make_dialer(server)) as served, connect(tmp_path / "s") as one:
        one.sendall(b"x")
        assert read_exactly(one, 1) == b"X"
        with connect(tmp_path / "s") as other:
            assert other.recv(1) == b""
        assert served.failure == "more than 1 connections at once"
