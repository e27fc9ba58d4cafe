"""A gate and its pumps between real sockets; the far end of the WebSocket is this test."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_buildx.errors import NotFound
from ci_buildx.kube.websocket import WebSocket
from ci_buildx.transport import tunnel as transport_tunnel
from ci_buildx.transport.tunnel import ExecChannels, PortForwardChannels, WebSocketTunnel
from ci_buildx.wire.websocket import mask_payload

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A


class Server:
    """The API server's side of WebSockets: reads what the client sent, frame by frame, and answers."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def dial(self) -> WebSocketTunnel:
        near, far = socket.socketpair()
        self.ends.append(far)
        return WebSocketTunnel(WebSocket(near, protocol="v4.channel.k8s.io"), ExecChannels())

    def send(self, payload: bytes, first: int = BINARY, end: int = -1) -> None:
        size = len(payload)
        if size < 126:
            head = bytes((first, size))
        elif size < 1 << 16:
            head = bytes((first, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, 127)) + size.to_bytes(8, "big")
        self.ends[end].sendall(head + payload)

    def receive(self, end: int = -1) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload. (0, b"") at the end of the connection."""
        head = self._exactly(2, end)
        if len(head) < 2:
            return 0, b""
        assert head[1] & 0x80, "clients must mask"
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8, end), "big")
        key = self._exactly(4, end)
        return head[0], mask_payload(self._exactly(size, end), key)

    def _exactly(self, size: int, end: int) -> bytes:
        return self.ends[end].recv(size, socket.MSG_WAITALL)


@pytest.fixture
def server() -> Iterator[Server]:
    """The API server's end of WebSocket tunnels."""
    made = Server()
    yield made
    for end in made.ends:
        end.close()


@contextmanager
def connected(target: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(target.removeprefix("unix:"))
        yield client


def test_the_socket_is_private_and_gone_afterwards(server: Server) -> None:
    before = set(threading.enumerate())
    with transport_tunnel.open_gate(server.dial) as target:
        folder = Path(target.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert set(threading.enumerate()) <= before  # threads of other tests may end meanwhile
    assert server.receive()[0] == CLOSE


def test_bytes_go_both_ways_on_their_channels(server: Server) -> None:
    with transport_tunnel.open_gate(server.dial) as target, connected(target) as client:
        client.sendall(b"question")
        assert server.receive() == (BINARY, b"\0question")
        server.send(b"\1answer")
        assert client.recv(100) == b"answer"


def test_pings_are_answered_between_frames(server: Server) -> None:
    with transport_tunnel.open_gate(server.dial) as target, connected(target):
        server.send(b"hello", PING)
        assert server.receive() == (PONG, b"hello")


def test_a_lot_of_data_arrives_whole_though_nobody_reads_for_a_while(server: Server) -> None:
    up, down = os.urandom(6 << 20), os.urandom(6 << 20)
    got = bytearray()

    def talk() -> None:
        for at in range(0, len(down), 60_000):
            server.send(b"\1" + down[at : at + 60_000])

    with transport_tunnel.open_gate(server.dial) as target, connected(target) as client:
        senders = [threading.Thread(target=client.sendall, args=(up,)), threading.Thread(target=talk)]
        for sender in senders:
            sender.start()
        while len(got) < len(up):
            got += server.receive()[1][1:]
        assert got == up
        assert client.makefile("rb").read(len(down)) == down
        for sender in senders:
            sender.join(10)


def test_each_connection_gets_a_tunnel_of_its_own(server: Server) -> None:
    with transport_tunnel.open_gate(server.dial) as target:
        with connected(target) as first, connected(target) as second:
            for name, client in (("first", first), ("second", second)):
                client.sendall(name.encode())
            frames = {server.receive(0)[1], receive_when_there(server, 1)[1]}
            assert frames == {b"\0first", b"\0second"}
        assert {server.receive(0)[0], server.receive(1)[0]} == {CLOSE}
        with connected(target) as third:
            third.sendall(b"third")
            assert receive_when_there(server, 2) == (BINARY, b"\0third")


def receive_when_there(server: Server, end: int) -> tuple[int, bytes]:
    for _ in range(1000):
        if len(server.ends) > end:
            return server.receive(end)
        threading.Event().wait(0.01)
    raise AssertionError("no tunnel was opened")


@pytest.mark.parametrize(
    ("act", "note"),
    [
        (lambda server: server.send(b'\3{"status":"Failure","message":"exit code 1"}'), "exit code 1"),
        (lambda server: server.send(b"\2no such command\n"), "no such command"),
        (lambda server: None, "the tunnel was closed 1011 sorry"),
    ],
)
def test_an_error_gets_a_note_of_why_the_tunnel_ended(server: Server, act: Callable[[Server], None], note: str) -> None:
    with pytest.raises(ConnectionError) as caught, transport_tunnel.open_gate(server.dial) as target:
        with connected(target) as client:
            server.send(b"\1last words")
            act(server)
            server.send(b"\x03\xf3sorry", CLOSE)
            assert client.recv(100) == b"last words"
            assert client.recv(100) == b""
        raise ConnectionError("as gRPC says")
    assert caught.value.__notes__ == [note]


def test_garbage_breaks_the_tunnel(server: Server) -> None:
    with pytest.raises(ConnectionError) as caught, transport_tunnel.open_gate(server.dial) as target:
        with connected(target) as client:
            server.send(b"x", 0xFF)
            assert client.recv(100) == b""
        raise ConnectionError("as gRPC says")
    assert caught.value.__notes__ == ["the tunnel broke: reserved bits are set"]


def test_a_refusal_at_the_first_tunnel_is_an_error_of_opening() -> None:
    def dial() -> WebSocketTunnel:
        raise NotFound("no such pod")

    with pytest.raises(NotFound), transport_tunnel.open_gate(dial):
        raise AssertionError("not opened")


def test_a_refusal_at_a_later_tunnel_is_told_too(server: Server) -> None:
    tunnels = [server.dial()]

    def dial() -> WebSocketTunnel:
        if tunnels:
            return tunnels.pop()
        raise NotFound("the pod has gone")

    with pytest.raises(ConnectionError) as caught, transport_tunnel.open_gate(dial) as target:
        with connected(target), connected(target) as second:
            assert second.recv(100) == b""
        raise ConnectionError("as gRPC says")
    assert caught.value.__notes__ == ["the pod has gone"]


def test_port_forward_channels_fit_the_gate() -> None:
    near, far = socket.socketpair()
    tunnel = WebSocketTunnel(WebSocket(near, protocol="v4.channel.k8s.io"), PortForwardChannels())
    with far, transport_tunnel.open_gate(lambda: tunnel) as target, connected(target) as client:
        far.sendall(b"\x82\x03\0\xd2\x04\x82\x03\1\xd2\x04\x82\x03\0hi")
        assert client.recv(100) == b"hi"
