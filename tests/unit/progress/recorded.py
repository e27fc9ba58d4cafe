"""Status streams as buildkitd sends them, shortened: (seconds, message) pairs of one build."""

from __future__ import annotations

from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.graph import StepGraph

T0 = 1_700_000_000.0

DEFINITION = "[internal] load build definition from Dockerfile"
BASE = "[1/3] FROM docker.io/library/alpine:3@sha256:aa"
RUN = "[2/3] RUN make"
COPY = "[3/3] COPY a b"


def vertex(
    digest: str, name: str, started: float | None = None, completed: float | None = None, *, cached: bool = False
) -> Vertex:
    return Vertex(digest=digest, name=name, started=at(started), completed=at(completed), cached=cached)


def failed(digest: str, name: str, started: float, completed: float, error: str) -> Vertex:
    return Vertex(digest=digest, name=name, started=at(started), completed=at(completed), error=error)


def log(digest: str, seconds: float, text: str) -> VertexLog:
    return VertexLog(vertex=digest, timestamp=T0 + seconds, data=text.encode())


def transfer(
    digest: str, name: str, current: int, seconds: float, *, total: int = 0, done: bool = False, started: float = 0.0
) -> VertexStatus:
    return VertexStatus(
        id=name,
        vertex=digest,
        current=current,
        total=total,
        timestamp=T0 + seconds,
        started=T0 + started,
        completed=T0 + seconds if done else None,
    )


def at(seconds: float | None) -> float | None:
    return None if seconds is None else T0 + seconds


def vertexes(*them: Vertex) -> StatusUpdate:
    return StatusUpdate(vertexes=them)


def logs(*them: VertexLog) -> StatusUpdate:
    return StatusUpdate(logs=them)


FINDING = VertexWarning(
    vertex="d",
    level=1,
    short="JSONArgsRecommended: JSON arguments recommended for CMD (line 4)",
    detail=("Exec form keeps signals intact",),
    url="https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
    filename="Dockerfile",
    ranges=((4, 4),),
)

BUILD: list[tuple[float, StatusUpdate]] = [
    (0.0, vertexes(vertex("a", DEFINITION))),
    (0.0, vertexes(vertex("a", DEFINITION, 0.0))),
    (
        0.5,
        StatusUpdate(
            vertexes=(vertex("a", DEFINITION, 0.0, 0.5),),
            statuses=(transfer("a", "transferring dockerfile:", 2_100_000, 0.3, done=True),),
        ),
    ),
    (0.6, vertexes(vertex("b", BASE), vertex("c", RUN), vertex("d", COPY))),
    (0.7, vertexes(vertex("b", BASE, 0.7, 0.7, cached=True))),
    (0.8, vertexes(vertex("c", RUN, 0.8))),
    (1.0, logs(log("c", 0.923, "compiling\nlin"))),
    (1.2, logs(log("c", 1.2, "king\n"))),
    (2.0, vertexes(vertex("c", RUN, 0.8, 2.0))),
    (2.1, StatusUpdate(vertexes=(vertex("d", COPY, 2.0, 2.1),), warnings=(FINDING,))),
]


def played(updates: list[tuple[float, StatusUpdate]] = BUILD, node: str = "") -> StepGraph:
    graph = StepGraph()
    for seconds, status in updates:
        graph.update(status, node=node, now=T0 + seconds)
    return graph
