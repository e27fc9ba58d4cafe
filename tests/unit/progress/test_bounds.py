"""A buildkitd that tells of steps, output and warnings without end: little of it is kept, and the end says so."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterable

import pytest

from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress import graph, plain
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.plain import MOST_WAITING, PlainLog
from ci_buildx.progress.renderer import TextOutlet
from ci_buildx.progress.step import KEPT_LINES


def take(made: StepGraph, updates: Iterable[StatusUpdate]) -> int:
    """Bytes that are kept of the updates."""
    tracemalloc.start()
    for update in updates:
        made.update(update, node="", now=10.0)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def vertex(digest: str, **more: object) -> StatusUpdate:
    return StatusUpdate(vertexes=(Vertex(**{"digest": digest, "started": 1.0, **more}),))  # type: ignore[arg-type]


def test_steps_without_end() -> None:
    made = StepGraph()
    take(made, (vertex(str(number)) for number in range(graph.MOST_STEPS + 10)))
    assert (made.total, made.omitted) == (graph.MOST_STEPS, 10)
    assert made.update(vertex("0", completed=2.0), node="", now=10.0)
    assert made.steps[0].completed
    said = list(plain.format_closing(made, limit=1, excerpt=""))
    assert said == ["buildkitd reported more than is stored: 10 steps, lines of progress or warnings are not shown"]


@pytest.mark.parametrize("group", [None, ProgressGroup(id="g", name="n")])
def test_parts_of_steps_without_end(group: ProgressGroup | None) -> None:
    made = StepGraph()
    for number in range(10):
        inputs = tuple(str(one) for one in range(graph.MOST_PARTS // 5))
        made.update(vertex(str(number), inputs=inputs, group=group), node="", now=10.0)
    assert made.omitted == 5
    starts = StepGraph()
    take(starts, (vertex("a", started=float(number)) for number in range(graph.MOST_PARTS + 10)))
    assert len(starts.steps[0].intervals) == graph.MOST_PARTS + 1
    # What has begun may still fail, and says so.
    starts.update(vertex("a", started=0.0, completed=5.0, error="exit code 2"), node="", now=10.0)
    assert starts.steps[0].error == "exit code 2"


def test_lines_of_progress_without_end() -> None:
    made = StepGraph()
    made.update(vertex("a"), node="", now=10.0)
    lines = tuple(VertexStatus(id=str(number), vertex="a") for number in range(graph.MOST_PARTS + 10))
    made.update(StatusUpdate(statuses=lines), node="", now=10.0)
    assert (len(made.steps[0].statuses), made.omitted) == (graph.MOST_PARTS, 10)
    made.update(StatusUpdate(statuses=(VertexStatus(id="0", vertex="a", name="x" * 2000),)), node="", now=10.0)
    assert made.omitted == 11


def test_names_and_errors_without_end() -> None:
    made = StepGraph()
    long = 1 << 20
    size = take(made, (vertex(str(number), name="n" * long, error="e" * long) for number in range(30)))
    assert size < graph.MOST_TEXT + (4 << 20)
    assert len(made.steps[0].name) == long
    assert made.steps[-1].name == "n" * (graph.SHORT - 1) + "…"
    assert take(StepGraph(), (vertex(f"{number}" * long) for number in range(10))) < 2 << 20
    group = ProgressGroup(id="g", name="g")
    of_group = (vertex(str(number), name="n" * long, error="e" * long, group=group) for number in range(30))
    assert take(StepGraph(), of_group) < graph.MOST_TEXT + (4 << 20)


def test_output_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_OUTPUT", 1 << 20)
    monkeypatch.setattr(graph, "MOST_PARTIAL", 1 << 18)
    made = StepGraph()
    for number in range(100):
        made.update(vertex(str(number)), node="", now=10.0)
    line = b"x" * 999 + b"\n"
    logs = (StatusUpdate(logs=(VertexLog(vertex=str(number % 100), data=line * 50),)) for number in range(300))
    assert take(made, logs) < 3 << 20
    kept = [sum(len(one.text) for one in step.lines) for step in made.steps]
    assert sum(kept) <= 1 << 20
    assert kept[-1] > 0
    open_ended = (
        StatusUpdate(logs=(VertexLog(vertex=str(number % 100), data=b"y" * 60_000),)) for number in range(200)
    )
    assert take(made, open_ended) < 3 << 20
    assert sum(len(step.partial) for step in made.steps) <= 1 << 18


def test_the_last_lines_of_a_step_are_kept() -> None:
    made = StepGraph()
    made.update(vertex("a"), node="", now=10.0)
    text = b"".join(b"%d\n" % number for number in range(3 * KEPT_LINES))
    for data in (text, b"end\n"):
        made.update(StatusUpdate(logs=(VertexLog(vertex="a", data=data),)), node="", now=10.0)
    assert [line.text for line in made.steps[0].lines][-2:] == [str(3 * KEPT_LINES - 1), "end"]
    assert made._output == sum(len(line.text) for line in made.steps[0].lines)


def test_warnings_without_end() -> None:
    made = StepGraph()
    few = (StatusUpdate(warnings=(VertexWarning(vertex="", short=str(number)),)) for number in range(1010))
    take(made, few)
    assert (len(made.warnings), made.omitted) == (graph.MOST_WARNINGS, 10)
    large = (StatusUpdate(warnings=(VertexWarning(vertex="", source=bytes(1 << 20)),)) for _ in range(40))
    assert take(StepGraph(), large) < graph.MOST_WARNED + (2 << 20)


def test_output_of_steps_behind_is_written_before_there_is_too_much() -> None:
    """Plain output shows one step at a time; nothing of the others is lost."""
    stream = io.StringIO()
    display = BuildDisplay(PlainLog(TextOutlet(stream)), StepGraph(), clock=lambda: 10.0)
    for name in ("a", "b"):
        display.update(vertex(name, name=name))
    piece = b"x" * 9_999 + b"\n"
    for _ in range(MOST_WAITING // 10_000 + 2):
        display.update(StatusUpdate(logs=(VertexLog(vertex="b", data=piece),)))
    assert stream.getvalue().count("x" * 9_999) > 1000
    display.close()
    assert stream.getvalue().count("x" * 9_999) == MOST_WAITING // 10_000 + 2
