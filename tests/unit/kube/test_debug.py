"""What the debug log says of calls to the API server."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from ci_buildx.errors import Forbidden, KubeError, Unreachable
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.credentials import Anonymous, StaticToken
from ci_buildx.kube.exchange import RetryPolicy
from ci_buildx.model.secret import Secret
from ci_buildx.settings.values import ClusterSettings
from tests.unit.conftest import DebugLog
from tests.unit.kube.scripted import DROP, answer, events, refused, scripted

SEED = "hush-of-the-cluster"


def client(port: int, token: str = SEED) -> KubeClient:
    cluster = ClusterAccess(server=f"http://127.0.0.1:{port}", credentials=StaticToken(Secret(token)))
    return KubeClient(cluster, retry=RetryPolicy(sleep=lambda _: None, random=lambda: 0.5))


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+\.\d{3} s", "T", line) for line in lines]


def test_each_call_with_its_status_and_time(debug_log: DebugLog) -> None:
    script = (answer(200, {"a": 1}), refused(403, "Forbidden", f"{SEED} may not"), answer(200), answer(201))
    with scripted(*script) as server, client(server.port) as kube:
        kube.get("/api/v1/pods", labelSelector="a=b", limit=500, **{"continue": "opaque"})
        with pytest.raises(Forbidden):
            kube.delete("/api/v1/pods/x", propagationPolicy="Background")
        kube.patch("/api/v1/pods/x", {"data": SEED})
        kube.create("/api/v1/secrets", {"metadata": {"name": "x"}, "data": {"x": SEED}}, dryRun="All")
        assert f"Bearer {SEED}" in server.requests[0]
        port = server.port
    assert without_times(debug_log.of("kube")) == [
        f"connected to 127.0.0.1:{port} (no TLS) in T",
        "GET /api/v1/pods?labelSelector=a=b&limit=500&continue=***: 200 after T on a new connection",
        "DELETE /api/v1/pods/x?propagationPolicy=Background: 403 after T",
        "PATCH /api/v1/pods/x: 200 after T",
        "POST /api/v1/secrets?dryRun=All: 201 after T",
    ]
    assert SEED not in debug_log.text


def test_what_is_tried_again_and_why(debug_log: DebugLog) -> None:
    script = (refused(429, "TooManyRequests", f"slowly {SEED}"), DROP, answer(200))
    with scripted(*script) as server, client(server.port) as kube:
        kube.get("/x")
        port = server.port
    broken = "the server closed the connection without a response"
    assert without_times(debug_log.of("kube"))[1:] == [
        "GET /x: 429 after T on a new connection",
        "GET /x is tried again in T: the API server failed (429): slowly ***",
        f"GET /x: ConnectionResetError('{broken}') after T",
        f"GET /x is tried again in T: the connection to the API server 127.0.0.1:{port} failed: {broken}",
        f"connected to 127.0.0.1:{port} (no TLS) in T",
        "GET /x: 200 after T on a new connection",
    ]


def test_a_server_that_is_not_there(debug_log: DebugLog) -> None:
    with scripted(answer(200)) as server:
        port = server.port
    kube = KubeClient(
        ClusterAccess(server=f"http://127.0.0.1:{port}", credentials=Anonymous()),
        retry=RetryPolicy(attempts=1, sleep=lambda _: None),
    )
    with kube, pytest.raises(Unreachable):
        kube.get("/x")
    assert re.fullmatch(
        rf"no connection to 127\.0\.0\.1:{port} after \d\.\d{{3}} s: ConnectionRefusedError.*", debug_log.of("kube")[0]
    )


def test_watches_and_what_they_see(debug_log: DebugLog) -> None:
    pod = {"metadata": {"name": "x", "resourceVersion": "7"}, "spec": {"env": SEED}}
    script, deadline = (events({"type": "ADDED", "object": pod}), refused(403, "Forbidden")), time.monotonic() + 60
    with scripted(*script) as server, client(server.port) as kube, pytest.raises(Forbidden):
        list(kube.watch("/api/v1/pods", resource_version="0", deadline=deadline, labelSelector="a"))
    lines = without_times(debug_log.of("kube"))
    opened = "watch=true&allowWatchBookmarks=true&resourceVersion="
    assert any(f"GET /api/v1/pods?labelSelector=a&{opened}0&timeoutSeconds=6" in line for line in lines)
    assert "watch /api/v1/pods: ADDED x, version 7" in lines
    assert any(f"{opened}7" in line and ": 403 after T" in line for line in lines)
    assert SEED not in debug_log.text


def test_logs_and_websockets(debug_log: DebugLog) -> None:
    with scripted(answer(200, "text"), refused(403, "Forbidden")) as server, client(server.port) as kube:
        list(kube.open_stream("/api/v1/pods/x/log", stop=threading.Event(), container="c"))
        with pytest.raises(KubeError):
            kube.open_websocket("/api/v1/pods/x/exec", [("container", "c"), ("command", f"say {SEED}")], ["v4"])
    lines = without_times(debug_log.of("kube"))
    assert any(line.startswith("GET /api/v1/pods/x/log?container=c: 200 after T") for line in lines)
    assert any(line.startswith("GET /api/v1/pods/x/exec?container=c&command=***: 403 after T") for line in lines)
    assert SEED not in debug_log.text


def test_the_official_clients_calls(debug_log: DebugLog) -> None:
    from kubernetes.client import CoreV1Api

    with scripted(answer(200, {"items": []}), refused(403, "Forbidden", SEED)) as server, client(server.port) as kube:
        api = CoreV1Api(kube.make_official_client())
        api.list_namespace(label_selector="a=b")
        with pytest.raises(Exception, match="Forbidden"):
            api.list_namespace()
    lines = without_times(debug_log.of("kube"))
    assert lines[-2:] == [
        "GET /api/v1/namespaces?labelSelector=a=b: 200 after T",
        "GET /api/v1/namespaces: 403 after T",
    ]
    assert SEED not in debug_log.text


def test_which_cluster_it_is(tmp_path: Path, debug_log: DebugLog) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "{clusters: [{name: c, cluster: {server: 'https://api.example:6443', proxy-url: 'http://me:hush-p@proxy:3128'}}],"
        f" users: [{{name: u, user: {{token: {SEED}, as: me}}}}],"
        " contexts: [{name: x, context: {cluster: c, user: u, namespace: n}}], current-context: x}"
    )
    config.load_cluster(ClusterSettings(kubeconfig=(path,)), env={})
    (line,) = debug_log.of("kube")
    assert line == (
        "cluster api.example:6443: context 'x', namespace n, credentials StaticToken, impersonation, "
        f"proxy proxy:3128 ({path}: proxy-url)"
    )
    assert "hush" not in debug_log.text
