import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.status import StatusUpdate
from ci_buildx.progress.frame import (
    FrameCanvas,
    FrameHeading,
    FrameLine,
    LineTone,
    clip_text,
    compose_frame,
    count_columns,
)
from ci_buildx.progress.graph import StepGraph
from tests.unit.progress.recorded import BUILD, COPY, RUN, T0, failed, log, logs, played, transfer, vertex, vertexes


def drawn(
    graph: StepGraph, seconds: float, *, width: int = 60, height: int = 24, finished: bool = False
) -> list[FrameLine]:
    heading = FrameHeading(elapsed=seconds, finished=finished)
    return compose_frame(graph, FrameCanvas(width=width, height=height), heading, now=T0 + seconds)


def test_a_running_build() -> None:
    assert [line.text for line in drawn(played(BUILD[:8]), 1.8)] == [
        "[+] Building 1.8s (2/4)",
        " => [internal] load build definition from Dockerfile    0.5s",
        " => => transferring dockerfile: 2.10MB                  0.3s",
        " => CACHED [1/3] FROM docker.io/library/alpine:3@sha256 0.0s",
        " => [2/3] RUN make                                      1.0s",
        " => => # compiling",
        " => => # linking",
    ]


def test_a_finished_build() -> None:
    lines = drawn(played(), 2.1, finished=True, height=0)
    assert lines[0].text == "[+] Building 2.1s (4/4) FINISHED"
    assert all("# " not in line.text for line in lines)
    assert lines[-1].tone is LineTone.WARNING


@pytest.mark.parametrize(
    ("width", "heading"),
    [(40, "[+] Building 1.8s (2/4)  kubernetes:kube"), (39, "[+] Building 1.8s (2/4) kubernetes:kube"), (38, "")],
)
def test_the_builder_is_at_the_right_if_there_is_room(width: int, heading: str) -> None:
    canvas = FrameCanvas(width=width, height=24)
    lines = compose_frame(played(BUILD[:8]), canvas, FrameHeading(elapsed=1.8, builder="kube"), now=T0 + 1.8)
    assert lines[0].text == (heading or "[+] Building 1.8s (2/4)")


def test_tones() -> None:
    graph = StepGraph()
    stopped = failed("d", COPY, 0.0, 1.0, "rpc error: context canceled")
    graph.update(vertexes(failed("c", RUN, 0.0, 1.0, "exit code: 1"), stopped), node="", now=T0 + 1)
    assert [(line.text[:14], line.tone) for line in drawn(graph, 1.0)[1:]] == [
        (" => ERROR [2/3", LineTone.FAILED),
        (" => CANCELED [", LineTone.CANCELED),
    ]


def crowded(running: int, ended: int) -> StepGraph:
    graph = StepGraph()
    done = [vertex(f"e{number}", f"[x] ended {number}", 0.0, 1.0) for number in range(ended)]
    open_ = [vertex(f"r{number}", f"[x] running {number}", 0.0) for number in range(running)]
    graph.update(vertexes(*open_, *done), node="", now=T0 + 1)
    graph.update(logs(*(log(f"r{number}", 1.0, "text\n" * 20) for number in range(running))), node="", now=T0 + 1)
    return graph


@pytest.mark.parametrize("height", [1, 2, 3, 8, 12, 24, 50])
@pytest.mark.parametrize(("running", "ended"), [(0, 30), (3, 30), (30, 0), (30, 30), (1, 1)])
def test_it_fits_and_prefers_what_runs(running: int, ended: int, height: int) -> None:
    lines = drawn(crowded(running, ended), 2.0, height=height)
    shown = sum("running" in line.text for line in lines)
    assert len(lines) <= max(height - 1, 1)
    assert shown == min(running, max(height - 2, 0))


def test_layers_that_are_pulled_do_not_hide_running_steps() -> None:
    graph = StepGraph()
    graph.update(
        vertexes(*(vertex(f"r{number}", f"[x] running {number}", 0.0) for number in range(10))), node="", now=T0
    )
    layers = [transfer(f"r{step}", f"sha256:{layer}", 1, 0.5, total=9) for step in range(10) for layer in range(9)]
    graph.update(StatusUpdate(statuses=tuple(layers)), node="", now=T0 + 1)
    lines = drawn(graph, 1.0, width=79, height=24)
    assert len(lines) == 23
    assert sum("running" in line.text for line in lines) == 10
    assert sum("sha256" in line.text for line in lines) == 12


@given(st.text(max_size=40), st.integers(min_value=20, max_value=120))
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    graph = StepGraph()
    graph.update(vertexes(vertex("c", f"[1/1] RUN {name}", 0.0)), node="", now=T0)
    graph.update(logs(log("c", 0.0, name)), node="", now=T0)
    for line in drawn(graph, 1.0, width=width):
        assert count_columns(line.text) <= width
        assert line.text.isprintable() or not name.isprintable()
        assert "\x1b" not in line.text


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "abc"), ("日本語", 5, "日本"), ("日本語", 6, "日本語"), ("e\u0301x", 1, "e\u0301")],
)
def test_clip_counts_columns(text: str, width: int, expected: str) -> None:
    assert clip_text(text, width) == expected
