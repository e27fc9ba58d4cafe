"""An API server, or what stands before it, that sends without end."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ci_buildx.errors import KubeError, Unauthorized
from ci_buildx.kube import client as clients
from ci_buildx.kube import connection, watch
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import ApiConnection
from ci_buildx.kube.credential_plugins import ExecPluginSpec, _read_token, compute_usable_time
from ci_buildx.kube.credential_plugins import read_exec_credential as read_plugin
from ci_buildx.kube.credentials import Anonymous
from ci_buildx.kube.exchange import CALL_TIMEOUT, RetryPolicy
from ci_buildx.kube.refusal import make_kube_error
from ci_buildx.kube.websocket import WebSocket
from ci_buildx.model.secret import Secret
from ci_buildx.wire.http1 import HEAD_LIMIT
from tests.unit.kube.scripted import Scripted, answer, events, scripted

opened: list[KubeClient] = []


def connect(server: Scripted) -> KubeClient:
    cluster = ClusterAccess(server=f"http://127.0.0.1:{server.port}", credentials=Anonymous())
    opened.append(KubeClient(cluster, retry=RetryPolicy(sleep=lambda _: None, random=lambda: 0.5)))
    return opened[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes what the test has opened."""
    yield
    while opened:
        opened.pop().close()


def test_headers_without_end_are_left() -> None:
    with (
        scripted(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEAD_LIMIT // 2)) as server,
        pytest.raises(KubeError, match="the head of the response is too long"),
    ):
        connect(server).get("/api")


NESTED = b"[" * 200_000


def test_an_answer_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 100_000)
    endless = b"HTTP/1.1 %d X\r\n\r\n" + b" " * 300_000
    for status in (200, 403):
        with scripted(endless % status) as server, pytest.raises(KubeError, match="more than 100000 bytes"):
            connect(server).get("/api")
    with scripted(endless % 403) as server, pytest.raises(KubeError, match="more than 100000 bytes"):
        next(iter(connect(server).open_stream("/log")))
    with scripted(endless % 403) as server, pytest.raises(KubeError, match="more than 100000 bytes"):
        connect(server).open_websocket("/exec", [], ["v4.channel.k8s.io"])


def test_an_answer_that_is_too_large_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 100_000)
    with scripted(answer(200, {"spec": "x" * 300_000})) as server:
        with pytest.raises(KubeError, match="more than 100000 bytes"):
            connect(server).list("/api/v1/nodes")
        assert len(server.requests) == 1


def test_a_list_that_is_too_large_for_one_answer_is_read_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of 5,000 nodes from the API server's cache, which may ignore the limit."""
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 100_000)
    large = answer(200, {"items": [{"metadata": {"name": "x"}, "rest": "x" * 300_000}]})
    pages = [
        answer(200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "1"}}]}),
        answer(200, {"items": [{"metadata": {"name": "2"}}]}),
    ]
    with scripted(large, *pages) as server:
        listed = connect(server).list("/api/v1/nodes", resourceVersion="0")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["1", "2"]
        assert ["resourceVersion=0" in target for target in server.asked] == [True, False, False]


def test_a_list_without_end_is_left() -> None:
    page = answer(200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "x"}}]})
    with scripted(page) as server:
        with pytest.raises(KubeError, match=rf"the list has more than {clients.MOST_PAGES} pages"):
            connect(server).list("/api/v1/pods")
        assert len(server.requests) == clients.MOST_PAGES


def test_pages_without_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LARGEST_LIST", 100_000)
    page = answer(200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "x"}, "rest": "x" * 30_000}]})
    with scripted(page) as server:
        with pytest.raises(KubeError, match="the list has more than 100000 bytes"):
            connect(server).list("/api/v1/pods")
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000 + b"\r\n \r\n"),
    ],
    ids=["interim responses", "trailers", "chunk extensions"],
)
def test_a_flood_without_content_ends_at_the_deadline(head: bytes, piece: bytes) -> None:
    ours, theirs = socket.socketpair()

    def flood() -> None:
        with suppress(OSError):
            theirs.sendall(head)
            while True:
                theirs.sendall(piece * 100)

    threading.Thread(target=flood, daemon=True).start()
    with theirs, pytest.raises(TimeoutError):
        ApiConnection(ours).exchange(b"GET / HTTP/1.1\r\n\r\n", time.monotonic() + CALL_TIMEOUT / 100)
    ours.close()


def test_an_event_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LARGEST_EVENT", 100_000)
    with scripted(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000) as server:
        deadline = time.monotonic() + 1
        with pytest.raises(KubeError, match="has no end"):
            list(connect(server).watch("/api/v1/pods", resource_version="1", deadline=deadline))


def test_objects_of_a_watch_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_KNOWN", 50)
    added = [{"type": "ADDED", "object": {"metadata": {"name": "x", "uid": str(number)}}} for number in range(100)]
    with scripted(events(*added)) as server:
        deadline = time.monotonic() + 10
        with pytest.raises(KubeError, match="more than 50 objects"):
            list(connect(server).watch("/api/v1/pods", resource_version="1", deadline=deadline))


def test_bytes_of_the_objects_of_a_watch_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_BYTES", 100_000)

    def event(kind: str, number: int) -> object:
        return {"type": kind, "object": {"metadata": {"name": "x", "uid": str(number)}, "rest": "x" * 10_000}}

    few = [event(kind, number) for number in range(50) for kind in ("ADDED", "MODIFIED", "DELETED")]
    many = [event("ADDED", number) for number in range(100, 120)]
    with scripted(events(*few, *many)) as server:
        seen: list[watch.WatchEvent] = []
        with pytest.raises(KubeError, match="objects of more than 100000 bytes"):
            seen.extend(connect(server).watch("/api/v1/pods", resource_version="1", deadline=time.monotonic() + 10))
    with scripted(events(*few), answer(410)) as server:
        changes = connect(server).watch("/api/v1/pods", resource_version="1", deadline=time.monotonic() + 0.5)
        assert len(list(zip(range(150), changes, strict=False))) == 150


SHAPES = (
    {"metadata": "x"},
    {"items": 3},
    {"items": {"a": 1}},
    {"items": ["x"]},
    {"items": [None]},
    {"items": [{"metadata": 1}]},
    {"items": [{"metadata": {"uid": "x"}}]},
    {"items": [{"metadata": {"name": "x"}, "status": {"conditions": [{"type": 5}]}}]},
    ["x"],
    5,
)


@pytest.mark.parametrize("body", SHAPES, ids=str)
def test_an_answer_of_another_shape_is_refused(body: object) -> None:
    deadline = time.monotonic() + 1
    for ask in (
        lambda client: client.get("/api"),
        lambda client: client.list("/api"),
        lambda client: list(client.watch("/api", deadline=deadline)),
    ):
        with scripted(answer(200, body)) as server, pytest.raises(KubeError, match="not a Kubernetes object"):
            ask(connect(server))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ADDED", "object": "x"},
        {"type": "ADDED", "object": {"metadata": "x"}},
        {"type": "ADDED", "object": {"metadata": {"name": "x"}, "spec": {"taints": "x"}}},
        {"type": "ADDED", "object": {"metadata": {}}},
        {"type": "BOOKMARK", "object": []},
        {"type": [], "object": {}},
        {"type": "ERROR", "object": None},
    ],
    ids=str,
)
def test_an_event_of_another_shape_begins_the_watch_again(event: object) -> None:
    with scripted(events(event)) as server:
        asked = connect(server).watch("/api", resource_version="1", deadline=time.monotonic() + 0.5)
        with pytest.raises(KubeError, match="malformed event"):
            list(asked)
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    "status",
    [
        {"code": "abc"},
        {"code": 422, "details": "x"},
        {"code": 422, "details": {"causes": 5}},
        {"code": 422, "details": {"causes": ["x"]}},
    ],
    ids=str,
)
def test_a_status_of_another_shape_is_an_error_of_the_cluster(status: dict[str, object]) -> None:
    with scripted(events({"type": "ERROR", "object": {**status, "message": "no"}})) as server:
        asked = connect(server).watch("/api", resource_version="1", deadline=time.monotonic() + 0.5)
        with pytest.raises(KubeError, match=r"^no$"):
            list(asked)
    refusal = answer(422, {"kind": "Status", **status, "message": "no"})
    with scripted(refusal) as server, pytest.raises(KubeError, match="no"):
        connect(server).get("/api")


def test_numbers_of_headers_and_versions_are_short() -> None:
    assert RetryPolicy(random=lambda: 0.5).pause(0, "\u00b2") == 0.1
    assert RetryPolicy(random=lambda: 0.5).pause(0, "9" * 5000) == 30.0
    with scripted(answer(200, {"major": "9" * 5000, "minor": "34+"})) as server:
        assert connect(server).read_server_version() == (999_999_999, 34)


def test_json_that_is_nested_without_end() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(NESTED) + NESTED
    with scripted(body) as server, pytest.raises(KubeError, match="the response is not JSON"):
        connect(server).get("/api")
    assert make_kube_error(404, NESTED, "GET /api").status == 404
    with pytest.raises(Unauthorized):
        read_plugin(NESTED, ExecPluginSpec(command="x", api_version="client.authentication.k8s.io/v1"))
    with pytest.raises(Unauthorized):
        _read_token(NESTED)
    assert compute_usable_time(Secret(f"a.{base64.urlsafe_b64encode(NESTED).decode()}.c")) == float("inf")


def test_pings_that_are_not_waited_for_take_no_memory() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        remote = WebSocket(ours, protocol="x")
        ping = b"\x89\x7d" + b"p" * 125
        for _ in range(2000):
            theirs.sendall(ping * 100)
            while remote.receive() is not None:
                pass
        assert len(remote._control) + len(remote._pong) < 300
        theirs.sendall(b"\x89\x04last")
        while remote.receive() is not None:
            pass
        assert remote.flush()
        remote.close()
        received = b""
        while piece := theirs.recv(65536):
            received += piece
        assert received[:2] == b"\x8a\x84"
