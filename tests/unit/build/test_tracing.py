"""Traces of whole builds, sent to a collector on this machine."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ci_buildx.build import tracing
from ci_buildx.errors import InputError, SolveError
from tests.unit.build.whole_build import WholeBuild
from tests.unit.lasting import create_builder
from tests.unit.scripted_buildkitd import SolveFault

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """What a collector was sent, and how it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        self.hangs = threading.Event()
        self.hangs.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
                outer.requests.append((self.path, dict(self.headers.items()), json.loads(body)))
                outer.hangs.wait(20)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[dict[str, Any]]:
        ((_, _, document),) = self.requests
        (group,) = document["resourceSpans"]
        (scope,) = group["scopeSpans"]
        found: list[dict[str, Any]] = scope["spans"]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on loopback."""
    made = Collector()
    yield made
    made.hangs.set()
    made.server.shutdown()
    made.server.server_close()


def by_name(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in spans}


def test_a_build_is_one_trace_of_phases_and_vertexes(build: WholeBuild, collector: Collector) -> None:
    build.env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/otlp/",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20collector-token,bad name=x",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=ci",
        "TRACEPARENT": f"00-{TRACE}-{PARENT}-01",
        "TRACESTATE": "vendor=1",
    }
    build.options["tags"] = ("registry.example/app:1",)
    build.run()
    ((path, headers, document),) = collector.requests
    assert path == "/otlp/v1/traces"
    assert headers["authorization"] == "Bearer collector-token"
    assert headers["Content-Type"] == "application/json"
    resource = document["resourceSpans"][0]["resource"]["attributes"]
    assert {one["key"]: one["value"]["stringValue"] for one in resource}.items() >= {
        "service.name": "kube-builder",
        "deployment.environment": "ci",
    }.items()
    spans = by_name(collector.spans)
    assert {one["traceId"] for one in collector.spans} == {TRACE}
    assert {one["traceState"] for one in collector.spans} == {"vendor=1"}
    root, work = spans["kube-builder build"], spans["phase build"]
    assert root["parentSpanId"] == PARENT
    assert root["attributes"] == [{"key": "kube_builder.build", "value": {"stringValue": "registry.example/app:1"}}]
    phases = [name for name in spans if name.startswith("phase ")]
    assert phases == ["phase plan", "phase create", "phase boot", "phase build", "phase teardown"]
    assert {spans[name]["parentSpanId"] for name in phases} == {root["spanId"]}
    (vertex,) = [one for one in collector.spans if one["name"] == "[1/1] FROM base"]
    assert vertex["parentSpanId"] == work["spanId"]
    assert vertex["attributes"][:2] == [
        {"key": "buildkit.vertex.digest", "value": {"stringValue": "sha256:1"}},
        {"key": "buildkit.vertex.cached", "value": {"boolValue": False}},
    ]
    assert len({one["spanId"] for one in collector.spans}) == len(collector.spans)
    assert all(int(one["startTimeUnixNano"]) <= int(one["endTimeUnixNano"]) for one in collector.spans)
    assert all(one["status"] == {"code": 1} for one in collector.spans)
    assert "WARNING: the trace" not in build.output


def test_buildkitds_own_spans_are_below_the_build(build: WholeBuild, collector: Collector) -> None:
    build.env = {"TRACEPARENT": f"00-{TRACE}-{PARENT}-01"}
    create_builder(build.cluster)
    build.run(builder_name="kube")
    (header,) = build.cluster.script.traces
    assert header.startswith(f"00-{TRACE}-")
    assert not header.endswith(f"{PARENT}-01")
    build.env = {}
    build.run(builder_name="kube")
    assert build.cluster.script.traces[1:] == [""]


def test_a_failed_build_is_traced_with_its_error_and_no_secret(build: WholeBuild, collector: Collector) -> None:
    def fail(_: Any) -> dict[str, str]:
        raise SolveFault("UNKNOWN", "process failed with secret-value-1")

    build.cluster.script.answer = fail
    build.options["build_args"] = (("API_TOKEN", "secret-value-1"),)
    build.env = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/x", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    with pytest.raises(SolveError):
        build.run()
    ((path, _, document),) = collector.requests
    assert path == "/x"
    assert "secret-value-1" not in json.dumps(document)
    status = by_name(collector.spans)["kube-builder build"]["status"]
    assert status == {"code": 2, "message": "failed to solve: process failed with ***"}


def test_a_collector_that_hangs_delays_the_end_by_two_seconds(build: WholeBuild, collector: Collector) -> None:
    collector.hangs.clear()
    build.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    build.run()
    assert "WARNING: the trace was not sent to 127.0.0.1: no " in build.output
    collector.hangs.set()


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "no trace is sent: OTEL_EXPORTER_OTLP_ENDPOINT: not a URL"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "no trace is sent: OTEL_EXPORTER_OTLP_PROTOCOL: protocol 'grpc'",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "the trace is sent as http/json, not http/protobuf"),
        ({}, "the trace was not sent to 127.0.0.1: the collector answered with status 503"),
    ],
)
def test_what_goes_wrong_is_a_warning(
    build: WholeBuild, collector: Collector, variables: dict[str, str], problem: str
) -> None:
    collector.status = 503
    build.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    assert build.run().digest
    assert f"WARNING: {problem}" in build.output


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"TRACEPARENT": f"00-{TRACE}-{PARENT}-00"}],
)
def test_a_trace_that_nobody_wants_is_not_sent(
    build: WholeBuild, collector: Collector, variables: dict[str, str]
) -> None:
    build.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    build.run()
    assert collector.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_a_malformed_parent_begins_a_new_trace(text: str) -> None:
    found = tracing.read_parent({"TRACEPARENT": text, "TRACESTATE": "a=b"})
    assert (found.span, found.state, found.sampled) == ("", "", True)
    assert found.trace not in (TRACE, "0" * 32)


def test_the_traces_own_variables_win() -> None:
    found = tracing.read_endpoint(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all.example:4318",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces.example/api",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2,c=%0d%0ax",
            "OTEL_SERVICE_NAME": "images",
        }
    )
    assert found is not None
    assert found.url == "https://traces.example/api"
    assert {name: one.reveal() for name, one in found.headers.items()} == {"b": b"2"}
    assert found.resource == {"service.name": "images"}
    with pytest.raises(InputError, match="not a URL"):
        tracing.read_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"})
