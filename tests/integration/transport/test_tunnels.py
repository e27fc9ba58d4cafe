"""Tunnels to a real pod under the rights of docs/rbac/namespace.yaml, and their race while it boots."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from ci_buildx.errors import NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.transport import race, tunnel
from ci_buildx.transport.race import PodAddress, PodEndpoint, TransportCandidate
from tests.integration.conftest import create


def connect(endpoint: PodEndpoint) -> socket.socket:
    if endpoint.target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(endpoint.target.removeprefix("unix:"))
    else:
        host, _, port = endpoint.target.rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=10)
    connection.settimeout(30)
    return connection


def echoed(endpoint: PodEndpoint, content: bytes) -> bytes:
    """Send ``content`` and read as much back."""
    with connect(endpoint) as connection, connection.makefile("rb") as stream:

        def send() -> None:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(content)

        sender = threading.Thread(target=send)
        sender.start()
        got = stream.read(len(content))
        sender.join()
    return got


def answer(endpoint: PodEndpoint, _: float = 0.0) -> PodEndpoint:
    if echoed(endpoint, b"knock") != b"knock":
        raise ConnectionError("closed without an answer")
    return endpoint


def test_port_forward_carries_bytes_both_ways(tenant_kube: KubeClient, listener: PodAddress) -> None:
    content = os.urandom(5 << 20)
    with tunnel.open_port_forward(tenant_kube, listener) as endpoint:
        assert endpoint.secure
        assert echoed(endpoint, content) == content


def test_port_forward_again_over_the_same_endpoint(tenant_kube: KubeClient, listener: PodAddress) -> None:
    with tunnel.open_port_forward(tenant_kube, listener) as endpoint:
        answers: list[bytes] = []
        while len(answers) < 2:
            # The pod's nc takes a moment between two connections.
            with contextlib.suppress(ConnectionResetError):
                answers += [got for got in (echoed(endpoint, b"again"),) if got]
    assert answers == [b"again", b"again"]


def test_exec_carries_bytes_both_ways(tenant_kube: KubeClient, listener: PodAddress) -> None:
    content = os.urandom(5 << 20)
    with tunnel.open_exec(tenant_kube, listener, command=("cat",)) as endpoint:
        assert not endpoint.secure
        assert echoed(endpoint, content) == content


def test_a_closed_port_is_told(tenant_kube: KubeClient, listener: PodAddress) -> None:
    closed = PodAddress(namespace=listener.namespace, name=listener.name, ip=listener.ip, container="main", port=9)
    with pytest.raises(ConnectionError) as caught, tunnel.open_port_forward(tenant_kube, closed) as endpoint:
        answer(endpoint)
    assert "connection refused" in caught.value.__notes__[0]


def test_a_command_that_fails_is_told(tenant_kube: KubeClient, listener: PodAddress) -> None:
    command = ("sh", "-c", "echo no such daemon >&2; exit 3")
    with pytest.raises(ConnectionError) as caught, tunnel.open_exec(tenant_kube, listener, command=command) as endpoint:
        answer(endpoint)
    assert caught.value.__notes__[0].endswith("exit code 3: no such daemon")


def test_a_pod_that_is_not_there(tenant_kube: KubeClient, namespace: str) -> None:
    nobody = PodAddress(namespace=namespace, name="nobody", ip="", container="main")
    with pytest.raises(NotFound, match='pods "nobody" not found'), tunnel.open_port_forward(tenant_kube, nobody):
        raise AssertionError("not opened")


def test_the_tunnel_wins_where_there_is_no_way_to_the_pod(tenant_kube: KubeClient, listener: PodAddress) -> None:
    nowhere = PodAddress(namespace=listener.namespace, name=listener.name, ip="", container="main")
    candidates = [
        TransportCandidate("direct", lambda: race.open_direct(nowhere)),
        TransportCandidate("port-forward", lambda: tunnel.open_port_forward(tenant_kube, listener)),
    ]
    with race.race_transports(candidates, answer=answer, deadline=time.monotonic() + 30) as winner:
        assert winner.name == "port-forward"
        assert winner.value == winner.endpoint


def test_knocking_from_before_the_pod_runs(kube: KubeClient, tenant_kube: KubeClient, namespace: str) -> None:
    name = "booting"
    later = PodAddress(namespace=namespace, name=name, ip="", container="main")
    candidates = [
        TransportCandidate("port-forward", lambda: tunnel.open_port_forward(tenant_kube, later)),
        TransportCandidate("exec", lambda: tunnel.open_exec(tenant_kube, later, command=("cat",))),
    ]
    threading.Timer(0.2, create, (kube, namespace, name, "while :; do nc -l -p 1234 -e cat; done")).start()
    with race.race_transports(candidates, answer=answer, deadline=time.monotonic() + 60) as winner:
        assert echoed(winner.endpoint, b"hello") in (b"hello", b"")
