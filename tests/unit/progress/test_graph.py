import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex, VertexLog
from ci_buildx.progress.graph import StepGraph
from tests.unit.progress.recorded import BUILD, COPY, FINDING, RUN, T0, log, logs, played, transfer, vertex, vertexes


def test_steps_come_in_the_order_in_which_they_began() -> None:
    graph = played()
    assert [step.key[1] for step in graph.steps] == ["a", "b", "c", "d"]
    assert [step.completed for step in graph.steps] == [True] * 4
    assert [step.cached for step in graph.steps] == [False, True, False, False]
    assert (graph.completed, graph.total) == (4, 4)


def test_announced_steps_count_before_they_begin() -> None:
    graph = played(BUILD[:5])
    assert (graph.completed, graph.total, len(graph.steps)) == (2, 4, 2)


def test_a_repeated_announcement_does_not_undo_a_beginning() -> None:
    graph = played([*BUILD[:6], (0.9, vertexes(vertex("c", "another name")))])
    assert (graph.steps[-1].name, graph.steps[-1].started) == (RUN, True)


def test_lines_are_put_together_and_stamped_with_their_beginning() -> None:
    assert [str(line) for line in played().steps[2].lines] == ["0.123 compiling", "0.123 linking"]


def test_an_unfinished_line_ends_with_its_step() -> None:
    graph = played([*BUILD[:6], (0.9, logs(log("c", 0.9, "no newline"))), BUILD[8]])
    assert [line.text for line in graph.steps[2].lines] == ["no newline"]


def test_characters_may_be_split_between_messages() -> None:
    graph = played(BUILD[:6])
    for piece in (b"caf\xc3", b"\xa9\n"):
        graph.update(StatusUpdate(logs=(VertexLog(vertex="c", data=piece),)), node="", now=T0 + 1)
    assert [line.text for line in graph.steps[2].lines] == ["café"]


def test_carriage_returns_overwrite() -> None:
    graph = played([*BUILD[:6], (0.9, logs(log("c", 0.9, "10%\r 50%\r100%\r\n")))])
    assert [line.text for line in graph.steps[2].lines] == ["100%"]


def test_an_endless_line_is_cut() -> None:
    graph = played([*BUILD[:6], (0.9, logs(log("c", 0.9, "x" * 200_000)))])
    assert len(graph.steps[2].partial) <= 1 << 16


def test_nodes_do_not_share_steps_of_one_digest() -> None:
    graph = StepGraph()
    graph.update(vertexes(vertex("a", "[x] one", 0.0)), node="one", now=T0)
    graph.update(vertexes(vertex("a", "[y] two", 0.0, 1.0)), node="two", now=T0)
    assert [(step.key, step.completed) for step in graph.steps] == [(("one", "a"), False), (("two", "a"), True)]


@pytest.mark.parametrize("skew", [-7200.0, -1.0, 0.0, 0.5, 7200.0])
def test_a_clock_that_is_wrong_does_not_change_durations(skew: float) -> None:
    graph = StepGraph()
    graph.update(vertexes(vertex("a", "[x] one", skew)), node="one", now=T0)
    assert graph.steps[0].compute_duration(T0 + 3) == pytest.approx(3)
    graph.update(vertexes(vertex("a", "[x] one", skew, skew + 5)), node="one", now=T0 + 5)
    assert graph.steps[0].compute_duration(T0 + 60) == pytest.approx(5)


def test_a_step_that_ends_before_it_begins_takes_no_time() -> None:
    graph = StepGraph()
    graph.update(vertexes(vertex("a", "[x] one", 5.0, 1.0)), node="", now=T0)
    assert graph.steps[0].compute_duration(T0) == 0.0


def test_overlapping_runs_count_once() -> None:
    graph = StepGraph()
    for begin, end in ((0.0, 4.0), (2.0, 5.0), (10.0, 11.0)):
        graph.update(vertexes(vertex("a", "[x] one", begin, end)), node="", now=T0 + end)
    assert graph.steps[0].compute_duration(T0 + 60) == pytest.approx(6)


def member(
    digest: str, group: ProgressGroup, started: float | None, completed: float | None, error: str = ""
) -> Vertex:
    one = vertex(digest, f"part {digest}", started, completed)
    return Vertex(digest=digest, name=one.name, started=one.started, completed=one.completed, group=group, error=error)


LINK = ProgressGroup(id="g", name="[2/2] COPY --link a b")


def test_a_group_is_one_step() -> None:
    graph = StepGraph()
    graph.update(vertexes(member("p", LINK, 0.0, 1.0), member("q", LINK, None, None)), node="", now=T0 + 1)
    graph.update(vertexes(member("q", LINK, 1.0, None)), node="", now=T0 + 2)
    assert [(step.name, step.completed) for step in graph.steps] == [(LINK.name, False)]
    graph.update(vertexes(member("q", LINK, 1.0, 3.0, error="no space left")), node="", now=T0 + 3)
    assert (graph.completed, graph.total, graph.steps[0].error) == (1, 1, "no space left")


def test_a_group_of_weak_members_stays_hidden() -> None:
    weak = ProgressGroup(id="g", name="shared", weak=True)
    graph = StepGraph()
    assert graph.update(vertexes(member("p", weak, 0.0, 1.0)), node="", now=T0) == []
    assert (graph.steps, graph.total) == ([], 0)


def test_findings_of_two_nodes_are_one() -> None:
    graph = StepGraph()
    for node in ("one", "two"):
        graph.update(vertexes(vertex("d", COPY, 0.0)), node=node, now=T0)
        graph.update(StatusUpdate(warnings=(FINDING,)), node=node, now=T0)
    assert graph.warnings == [FINDING]
    assert [len(step.warnings) for step in graph.steps] == [1, 1]


def test_what_belongs_to_an_unknown_step_is_passed_over() -> None:
    graph = StepGraph()
    status = StatusUpdate(statuses=(transfer("x", "y", 1, 0.0),), logs=(log("x", 0.0, "text\n"),))
    assert graph.update(status, node="", now=T0) == []


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_output_gets_lost(pieces: list[bytes]) -> None:
    graph = played(BUILD[:6])
    for piece in pieces:
        graph.update(StatusUpdate(logs=(VertexLog(vertex="c", data=piece.replace(b"\r", b"")),)), node="", now=T0 + 1)
    graph.flush()
    whole = b"".join(pieces).replace(b"\r", b"").decode("utf-8", "replace")
    assert "\n".join(line.text for line in graph.steps[2].lines) == whole.removesuffix("\n")


def test_a_node_that_begins_again_has_only_the_steps_of_the_last_attempt() -> None:
    graph = StepGraph()
    graph.update(vertexes(vertex("a", "[x] one", 0.0, 1.0), vertex("b", "[x] two", 1.0)), node="one", now=T0)
    graph.update(logs(log("b", 1.0, "half a line")), node="one", now=T0)
    graph.update(vertexes(vertex("a", "[y] one", 0.0, 1.0)), node="two", now=T0)
    graph.update(StatusUpdate(warnings=(FINDING,)), node="one", now=T0)
    (canceled,) = graph.restart("one", T0 + 2)
    assert (canceled.step.name, canceled.step.error) == ("[x] two", "context canceled")
    assert [line.text for line in canceled.lines] == ["half a line"]
    assert [step.key for step in graph.steps] == [("two", "a")]
    assert graph.warnings == []
    graph.update(vertexes(vertex("a", "[x] one", 5.0, 6.0)), node="one", now=T0 + 6)
    graph.update(logs(log("a", 5.5, "again\n")), node="one", now=T0 + 6)
    again = graph.steps[-1]
    assert again is not canceled.step
    assert (again.key, list(again.intervals.values())) == (("one", "a"), [T0 + 6])
    assert graph.completed == 2
