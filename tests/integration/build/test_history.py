"""The history, the load, the metrics and the trace of a lasting builder, with the rights of docs/rbac."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devcluster import programs
from tests.integration.build.lasting import Shop

DOCKERFILE = "FROM busybox\nARG VERSION\nRUN echo built $VERSION > /x\nFROM scratch\nCOPY --from=0 /x /\n"
PORT = "6061"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SCOPE = "KUBE_BUILDER_TRUST_SCOPE"


class Collector:
    """Keeps the bodies that it is sent."""

    def __init__(self) -> None:
        bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.bodies = bodies
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on loopback."""
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def parse(body: bytes) -> dict[str, Any]:
    """What the collector's own parser reads."""
    programs.build(["otlp"])
    done = subprocess.run([programs.path("otlpread")], input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def read(shop: Shop, *argv: str) -> str:
    run = shop.product.run(*argv)
    assert run.code == 0, run.stderr
    return run.stdout.decode()


def test_a_lasting_builder_remembers_its_builds(shop: Shop, context: Path, collector: Collector) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE)
    options = f"metrics-port={PORT},nodeselector=kubernetes.io/arch=amd64"
    created = shop.create("--name", "kept", "--use", "--bootstrap", "--driver-opt", options)
    assert created.code == 0, created.stderr
    traced = shop.product.with_env(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=f"00-{TRACE}-{PARENT}-01")
    secret = ("--build-arg", "VERSION=3", "--build-arg", "API_TOKEN=a-secret-value-1")
    built = traced.run(
        "build", *secret, "-o", "out", "--metadata-file", "m.json", "--progress", "rawjson", str(context)
    )
    assert built.code == 0, built.stderr
    builder, node, ref = json.loads((shop.product.cwd / "m.json").read_text())["buildx.build.ref"].split("/")
    assert (builder, node) == ("kept", "kept0")

    (listed,) = map(json.loads, read(shop, "history", "ls", "--format", "json").splitlines())
    assert (listed["ref"], listed["status"]) == (f"kept/kept0/{ref}", "Completed")
    shown = json.loads(read(shop, "history", "inspect", "--format", "json", ref))
    assert {"Name": "API_TOKEN", "Value": "***"} in shown["BuildArgs"]
    assert {"Name": "VERSION", "Value": "3"} in shown["BuildArgs"]
    assert shown["Materials"][0]["URI"].startswith("pkg:docker/busybox@")
    assert json.loads(read(shop, "history", "inspect", "attachment", "--type", "provenance"))["buildDefinition"]
    assert "RUN echo built 3 > /x" in shop.product.run("history", "logs").stderr
    read(shop, "history", "export", "--finalize", "-o", "kept.dockerbuild")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress((shop.product.cwd / "kept.dockerbuild").read_bytes()))) as one:
        assert "index.json" in one.getnames()
    page = Path(read(shop, "history", "open").strip())
    assert "RUN echo built" in page.read_text()

    own = parse(read(shop, "history", "trace", "--format", "otlp").encode())["Spans"]
    assert {one["Trace"] for one in own} == {TRACE}
    (body,) = collector.bodies
    assert b"a-secret-value-1" not in body
    sent = parse(body)
    assert sent["Resource"]["service.name"] == "kube-builder"
    spans = {one["ID"]: one for one in sent["Spans"]}
    assert len(spans) == len(sent["Spans"])
    digests = [found for one in sent["Spans"] if (found := one["Attributes"].get("buildkit.vertex.digest"))]
    updates = map(json.loads, built.stderr.splitlines())
    vertexes = {
        one["digest"]
        for update in updates
        for one in update.get("vertexes") or ()
        if not one["name"].startswith("[internal] ")
    }
    assert vertexes <= set(digests)
    assert len(digests) == len(set(digests))
    roots = [one for one in sent["Spans"] if one["Parent"] == PARENT]
    assert [one["Name"] for one in roots] == ["kube-builder build"]
    assert {one["Parent"] for one in own} & spans.keys(), "buildkitd's spans are not below ours"

    load = json.loads(read(shop, "top", "--format", "json"))
    (pod,) = load["pods"]
    assert (pod["status"], pod["builds"], pod["running"], pod["error"]) == ("running", 1, [], "")
    assert pod["cache_bytes"] > 0
    metrics = read_metrics(shop)
    assert "buildkit_builds_total{" in metrics
    assert 'status="success"' in metrics

    fork = shop.product.with_env(**{SCOPE: "fork:1"})
    for verb in (("history", "ls"), ("history", "logs", ref), ("history", "rm", "--all"), ("top",)):
        refused = fork.run(*verb)
        assert refused.code == 2
        assert "is not allowed for runs of trust scope 'fork:1'" in refused.stderr
    read(shop, "history", "rm", ref)
    assert read(shop, "history", "ls", "--format", "json") == ""
    assert shop.product.run("rm", "kept").code == 0


def read_metrics(shop: Shop) -> str:
    """Prometheus' text, from the pod's own address as its annotations say."""
    (pod,) = shop.objects("/api/v1/{}/pods", "kept")
    notes = pod["metadata"]["annotations"]
    assert notes["prometheus.io/scrape"] == "true"
    address = f"http://{pod['status']['podIP']}:{notes['prometheus.io/port']}{notes['prometheus.io/path']}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=20) as answer:
        return str(answer.read().decode())
