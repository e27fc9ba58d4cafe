"""A build on two nodes as its status streams tell it: what the pictures of builds are tested with."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.model.status import StatusUpdate, Vertex, VertexStatus
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.step import PHASE_DIGEST
from ci_buildx.progress.timeline.timeline import PhaseLap, Timeline, read_timeline
from tests.unit.progress.recorded import T0, at

CREATING = "[internal] creating builder kube-builder-app-2cf24dba-qszjtnld"
REMOVING = "[internal] removing builder kube-builder-app-2cf24dba-qszjtnld"
COMPILE = "RUN go build -ldflags='-s -w' -o /out/app ./cmd/app; echo \"100%\" > /note, # <done>"
AMD64_SKEW, ARM64_SKEW = 0.0, -600.0
"""The clock of one node is ten minutes slow."""


def vertex(
    digest: str, name: str, began: float, ended: float | None, *inputs: str, cached: bool = False, error: str = ""
) -> Vertex:
    return Vertex(
        digest=digest, name=name, inputs=inputs, cached=cached, started=at(began), completed=at(ended), error=error
    )


def part(digest: str, name: str, began: float, ended: float) -> VertexStatus:
    return VertexStatus(id=name, vertex=digest, timestamp=at(ended), started=at(began), completed=at(ended))


def play(graph: StepGraph, node: str, *vertexes: Vertex, parts: Sequence[VertexStatus] = (), skew: float = 0.0) -> None:
    """Tell each vertex the moment that it ended."""
    for one in vertexes:
        own = tuple(entry for entry in parts if entry.vertex == one.digest)
        now = (one.completed or one.started or T0) - skew
        graph.update(StatusUpdate(vertexes=(one,), statuses=own), node=node, now=now)


def phase(number: int, name: str, began: float, ended: float | None, error: str = "") -> Vertex:
    return vertex(f"{PHASE_DIGEST}{number}", name, began, ended, error=error)


def graph_of_two_nodes() -> StepGraph:
    """amd64 compiles for 2 s, arm64 for 4 s; there the compiler waits half a second for its turn."""
    graph = StepGraph()
    play(graph, "", phase(1, CREATING, 0.1, 0.2), phase(2, "[internal] booting builder", 0.2, 1.0))
    _node(graph, "amd64", compile_from=3.0, compile_to=5.0, skew=AMD64_SKEW)
    _node(graph, "arm64", compile_from=3.5, compile_to=7.5, skew=ARM64_SKEW)
    play(graph, "", phase(3, "[internal] merging index registry.example/app:1", 8.6, 8.8), phase(4, REMOVING, 8.8, 9.0))
    return graph


def two_nodes() -> Timeline:
    return read_timeline(graph_of_two_nodes(), now=T0 + 9, laps=[PhaseLap(name="planning", begin=T0, end=T0 + 0.1)])


def _node(graph: StepGraph, node: str, *, compile_from: float, compile_to: float, skew: float) -> None:
    platform = f"linux/{node}"
    blob = f"sha256:{'ab' * 32}"

    def moved(began: float, ended: float) -> tuple[float, float]:
        return began + skew, ended + skew

    play(
        graph,
        node,
        vertex("def", f"[{node} internal] load build definition from Dockerfile", *moved(1.0, 1.1)),
        vertex("meta", f"[{node} internal] load metadata for registry.example/golang:1", *moved(1.1, 1.5)),
        vertex(
            "base", f"[{platform} stage-1 1/2] FROM registry.example/base@sha256:0abc", *moved(1.5, 1.5), cached=True
        ),
        vertex("ctx", f"[{node} internal] load build context", *moved(1.5, 2.5)),
        vertex("from", f"[{platform} build 1/3] FROM registry.example/golang:1@sha256:0def", *moved(1.5, 2.4)),
        vertex("copy", f"[{platform} build 2/3] COPY . .", *moved(2.5, 3.0), "from", "ctx"),
        vertex("run", f"[{platform} build 3/3] {COMPILE}", *moved(compile_from, compile_to), "copy"),
        vertex(
            "out", f"[{platform} stage-1 2/2] COPY /out/app /app", *moved(compile_to, compile_to + 0.1), "base", "run"
        ),
        vertex("exp", f"[{node}] exporting to image", *moved(compile_to + 0.1, compile_to + 1.1)),
        parts=(
            part("ctx", "transferring context:", *moved(1.6, 2.4)),
            part("from", blob, *moved(1.6, 2.0)),
            part("from", f"extracting {blob}", *moved(2.0, 2.4)),
            part("exp", "exporting layers", *moved(compile_to + 0.1, compile_to + 0.4)),
            part("exp", "pushing layers", *moved(compile_to + 0.4, compile_to + 1.0)),
        ),
        skew=skew,
    )


def many_steps(count: int) -> Timeline:
    graph = graph_of_two_nodes()
    for number in range(count):
        name = f"[linux/amd64 tools {number + 1}/{count}] RUN it"
        began = 2.4 + number / 1000
        play(graph, "amd64", vertex(f"t{number}", name, began, began + 0.0005, "from", cached=number % 2 == 0))
    play(graph, "amd64", vertex("bad", "[linux/amd64 last 1/1] RUN false", 4.0, 4.0001, error="exit code: 1"))
    return read_timeline(graph, now=T0 + 9)
