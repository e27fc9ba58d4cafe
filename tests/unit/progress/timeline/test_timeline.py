"""What is drawn says what happened: times of vertexes, waits, sections, the critical path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.timeline import timeline as timeline_timeline
from ci_buildx.progress.timeline.fold import fold_rows
from ci_buildx.progress.timeline.timeline import OURS, SHARED, SpanKind, Timeline, TimelineRow, read_timeline
from tests.unit.progress.recorded import T0
from tests.unit.progress.timeline.pictured import many_steps, part, phase, play, two_nodes, vertex


def row(timeline: Timeline, section: str, name: str) -> TimelineRow:
    (found,) = [one for one in timeline.rows if one.section == section and name in one.name]
    return found


def spans(one: TimelineRow) -> list[tuple[float, float]]:
    return [(round(run.begin - T0, 3), round(run.end - T0, 3)) for run in one.runs]


def test_bars_are_the_times_of_the_vertexes_by_our_clock() -> None:
    drawn = two_nodes()
    assert spans(row(drawn, "linux/amd64", "go build")) == [(3.0, 5.0)]
    assert spans(row(drawn, "linux/arm64", "go build")) == [(3.5, 7.5)]
    assert (drawn.begin, drawn.end) == pytest.approx((T0, T0 + 9))


def test_our_phases_go_by_our_clock_where_the_node_has_no_name() -> None:
    graph = StepGraph()
    play(graph, "", phase(1, "[internal] booting builder", 0.0, 1.0))
    play(graph, "", vertex("a", "[1/1] FROM base", -599.0, -598.0), skew=-600.0)
    play(graph, "", phase(2, "[internal] removing builder b", 2.0, 2.5))
    assert [spans(one) for one in read_timeline(graph, now=T0 + 3).rows] == [[(0.0, 1.0)], [(2.0, 2.5)], [(1.0, 2.0)]]


def test_sections_are_ours_then_the_platforms() -> None:
    assert [(name, len(rows)) for name, rows in two_nodes().group_sections()] == [
        (OURS, 5),
        ("linux/amd64", 9),
        ("linux/arm64", 9),
    ]


@pytest.mark.parametrize(
    ("node", "name", "section", "shown"),
    [
        ("", "[linux/arm64 build 2/3] COPY . .", "linux/arm64", "[build 2/3] COPY . ."),
        ("", "[linux/arm/v7 2/3] COPY . .", "linux/arm/v7", "[2/3] COPY . ."),
        ("", "[2/3] COPY . .", SHARED, "[2/3] COPY . ."),
        ("one", "[one internal] load build context", "one", "[internal] load build context"),
        ("one", "[one] exporting to image", "one", "exporting to image"),
    ],
)
def test_names_leave_out_what_the_heading_says(node: str, name: str, section: str, shown: str) -> None:
    graph = StepGraph()
    play(graph, node, vertex("a", name, 0.0, 1.0))
    assert [(one.section, one.name) for one in read_timeline(graph, now=T0 + 1).rows] == [(section, shown)]


def test_a_node_that_emulates_has_a_section_for_what_its_platforms_share() -> None:
    graph = StepGraph()
    play(graph, "", vertex("c", "[internal] load build context", 0.0, 1.0))
    for number, platform in enumerate(("linux/amd64", "linux/arm64")):
        play(graph, "", vertex(f"r{number}", f"[{platform} 2/2] RUN make", 1.0, 2.0, "c"))
    assert [name for name, _ in read_timeline(graph, now=T0 + 2).group_sections()] == [
        SHARED,
        "linux/amd64",
        "linux/arm64",
    ]


def test_what_is_on_the_wire_is_marked() -> None:
    drawn = two_nodes()
    found = {(one.name, part.kind, round(part.seconds, 3)) for one in drawn.rows[5:14] for part in one.parts}
    assert found == {
        ("[internal] load build context", SpanKind.TRANSFER, 0.8),
        ("[build 1/3] FROM registry.example/golang:1@sha256:0def", SpanKind.TRANSFER, 0.4),
        ("exporting to image", SpanKind.PUSH, 0.6),
    }


def test_waiting_for_its_turn_is_what_follows_the_last_input() -> None:
    drawn = two_nodes()
    assert row(drawn, "linux/arm64", "go build").waited == pytest.approx(0.5)
    assert row(drawn, "linux/amd64", "go build").waited == pytest.approx(0.0)


def test_between_two_runs_it_waits_for_inputs_first() -> None:
    graph = StepGraph()
    play(graph, "", vertex("a", "[1/2] FROM base", 0.0, 3.0))
    play(graph, "", vertex("b", "[2/2] RUN make", 1.0, 1.1, "a"), vertex("b", "[2/2] RUN make", 3.5, 4.0, "a"))
    (wait, queue) = row(read_timeline(graph, now=T0 + 4), SHARED, "RUN").waits
    assert (wait.kind, round(wait.begin - T0, 3), round(wait.end - T0, 3)) == (SpanKind.INPUTS, 1.1, 3.0)
    assert (queue.kind, round(queue.begin - T0, 3), round(queue.end - T0, 3)) == (SpanKind.QUEUE, 3.0, 3.5)


def test_the_critical_path_leads_through_the_slower_node() -> None:
    drawn = two_nodes()
    assert [one.name.partition("]")[0] for one in drawn.rows if one.critical] == [
        *("planning", "creating builder kube-builder-app-2cf24dba-qszjtnld", "booting builder"),
        *("merging index registry.example/app:1", "removing builder kube-builder-app-2cf24dba-qszjtnld"),
        *("[internal", "[internal", "[internal", "[build 2/3", "[build 3/3", "[stage-1 2/2"),
        "exporting to image",
    ]
    assert {one.section for one in drawn.rows if one.critical} == {OURS, "linux/arm64"}
    assert not row(drawn, "linux/arm64", "[build 1/3]").critical
    assert drawn.critical_seconds == pytest.approx(9.0 - 0.5)


def test_the_path_goes_through_inputs_not_through_neighbours() -> None:
    graph = StepGraph()
    play(
        graph,
        "",
        vertex("a", "[a 1/2] FROM base", 0.0, 1.0),
        vertex("x", "[x 1/1] RUN unrelated", 0.0, 1.9),
        vertex("b", "[a 2/2] RUN make", 2.0, 3.0, "a"),
    )
    assert [one.name for one in read_timeline(graph, now=T0 + 3).rows if one.critical] == [
        "[a 1/2] FROM base",
        "[a 2/2] RUN make",
    ]


def test_the_path_of_a_failed_build_ends_at_what_failed() -> None:
    graph = StepGraph()
    play(
        graph,
        "",
        vertex("a", "[a 1/1] RUN exit 1", 0.0, 1.0, error="exit code: 1"),
        vertex("b", "[b 1/1] RUN sleep 9", 0.0, 1.1, error="context canceled"),
        phase(1, "[internal] removing builder b", 1.1, 1.2),
    )
    drawn = read_timeline(graph, now=T0 + 2)
    assert [one.name for one in drawn.rows if one.critical] == ["removing builder b", "[a 1/1] RUN exit 1"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [("", SpanKind.RUN), ("exit code: 1", SpanKind.FAILED), ("context canceled", SpanKind.CANCELED)],
)
def test_how_a_step_ended(error: str, kind: SpanKind) -> None:
    graph = StepGraph()
    play(graph, "", vertex("a", "[1/1] RUN make", 0.0, 1.0, error=error))
    (drawn,) = read_timeline(graph, now=T0 + 1).rows
    assert (drawn.kind, drawn.error) == (kind, error)


def test_what_runs_when_the_build_ends_runs_until_then() -> None:
    graph = StepGraph()
    graph.update(StatusUpdate(vertexes=(vertex("a", "[1/1] RUN sleep", 0.0, None),)), node="", now=T0)
    assert spans(read_timeline(graph, now=T0 + 7).rows[0]) == [(0.0, 7.0)]


def test_a_group_is_one_row_and_not_its_own_input() -> None:
    group = ProgressGroup(id="g", name="[internal] pulling")
    members = (
        Vertex(digest="a", name="a", started=T0, completed=T0 + 1, group=group),
        Vertex(digest="b", name="b", inputs=("a", "z"), started=T0 + 0.5, completed=T0 + 2, group=group),
    )
    graph = StepGraph()
    play(graph, "", vertex("z", "[1/1] FROM base", -1.0, 0.0))
    graph.update(StatusUpdate(vertexes=members), node="", now=T0 + 2)
    assert [step.name for step in graph.list_inputs(graph.steps[1])] == ["[1/1] FROM base"]
    assert spans(row(read_timeline(graph, now=T0 + 2), SHARED, "pulling")) == [(0.0, 2.0)]


def test_a_build_that_never_began_has_no_rows() -> None:
    drawn = read_timeline(StepGraph(), now=T0)
    assert (drawn.rows, drawn.seconds, timeline_timeline.find_critical_path(StepGraph(), {})) == ((), 0.0, [])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.floats(-1, 9),
            st.floats(-1, 9),
            st.lists(st.integers(0, 5), max_size=3),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_any_stream_gives_rows_whose_spans_are_in_order(
    events: list[tuple[int, float, float, list[int], bool]],
) -> None:
    graph = StepGraph()
    for number, began, ended, inputs, cached in events:
        one = vertex(f"v{number}", f"[{number}/5] RUN it", began, ended, *(f"v{i}" for i in inputs), cached=cached)
        status = StatusUpdate(vertexes=(one,), statuses=(part(one.digest, "pushing layers", began, ended),))
        graph.update(status, node="", now=T0 + max(began, ended))
    drawn = read_timeline(graph, now=T0 + 10)
    for one_row in drawn.rows:
        for before, after in zip(one_row.runs, one_row.runs[1:], strict=False):
            assert before.begin <= before.end <= after.begin <= after.end
        assert all(drawn.begin <= run.begin and run.end <= drawn.end for run in one_row.runs)
        assert all(wait.seconds > 0 for wait in one_row.waits)
        assert all(piece.begin <= piece.end for piece in one_row.parts)
    assert bool(drawn.rows) == any(one_row.critical for one_row in drawn.rows)


@pytest.mark.parametrize("limit", [10, 40, 120])
def test_many_steps_fold_and_none_is_lost(limit: int) -> None:
    whole = many_steps(500)
    folded = fold_rows(whole, limit)
    assert len(folded.rows) <= limit
    assert sum(one.steps for one in folded.rows) == len(whole.rows)
    assert (folded.begin, folded.end) == (whole.begin, whole.end)
    assert any(one.kind is SpanKind.FAILED and one.steps == 1 for one in folded.rows)
    assert [one.name for one in folded.rows if one.section == OURS] == [
        one.name for one in whole.rows if one.section == OURS
    ]
    note = next(one.name for one in folded.rows if one.steps > 50)
    assert " more steps, " in note
    assert note.endswith(" cached")


def test_few_steps_stay_as_they_are() -> None:
    assert fold_rows(two_nodes(), 40) == two_nodes()
