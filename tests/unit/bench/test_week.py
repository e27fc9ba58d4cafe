"""A week of commits: what is drawn, written, read from a build's progress, and shown."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import line_chart, plots, week
from bench.line_chart import LineChart
from bench.week import Commit

SVG = "{http://www.w3.org/2000/svg}"
STEP = {"name": "[2/3] COPY dependencies /dependencies", "completed": "2026-11-30T09:00:00Z"}


def test_a_repositorys_first_commit_is_new_and_few_later_ones_are() -> None:
    commits = week.draw_commits(2000, seed=1)
    first = {commit.repository: commit for commit in reversed(commits)}
    assert all(commit.is_new for commit in first.values())
    later = [commit for commit in commits if commit is not first[commit.repository]]
    assert 0.5 * week.CHANGES < sum(commit.is_new for commit in later) / len(later) < 2 * week.CHANGES
    assert commits == week.draw_commits(2000, seed=1) != week.draw_commits(2000, seed=2)


def test_a_commit_changes_the_sources_and_if_it_is_new_the_dependencies(tmp_path: Path) -> None:
    def write(*, is_new: bool, seed: int) -> tuple[bytes, bytes]:
        context = week.write_commit(tmp_path, Commit(repository=3, is_new=is_new, seed=seed))
        return (context / "dependencies" / "library").read_bytes(), (context / "sources" / "main").read_bytes()

    first, second, third = write(is_new=True, seed=1), write(is_new=False, seed=2), write(is_new=True, seed=3)
    assert len(first[0]) == week.DEPENDENCIES
    assert first[0] == second[0] != third[0]
    assert len({first[1], second[1], third[1]}) == 3


def test_a_hit_is_a_cached_step_with_the_dependencies() -> None:
    def hits(**step: object) -> bool:
        lines = [
            "#0 building",
            json.dumps({"vertexes": [{**STEP, **step}]}),
            json.dumps({"statuses": [], "vertexes": None}),
        ]
        return week.is_hit("\n".join(lines))

    assert hits(cached=True)
    assert not hits()
    with pytest.raises(ValueError, match="no step"):
        hits(name="COPY sources /sources")


def test_the_busiest_pod_is_compared_with_its_fair_share() -> None:
    assert plots.measure_share({"sessions": [6, 2, 0, 0]}) == 3.0
    assert plots.measure_share({"sessions": []}) == 0.0
    assert plots.measure_hits({"hits": 3, "chances": 4}) == 75.0


def test_lines_go_through_their_points() -> None:
    lines = [("a & b", [(1.0, 0.0), (2.0, 50.0)]), ("c", [(1.0, 100.0), (2.0, 200.0)])]
    chart = LineChart(title="t", x="day", y="%", lines=lines, highest=100, marks=[(1.0, "here")])
    drawn = ElementTree.fromstring(line_chart.draw_lines(chart))
    first, second = (
        [point.split(",") for point in one.attrib["points"].split()] for one in drawn.iter(f"{SVG}polyline")
    )
    assert first[0][0] == second[0][0]
    assert float(first[1][1]) == pytest.approx((float(first[0][1]) + float(second[0][1])) / 2)
    assert second[1][1] == second[0][1], "what is above the top ends at it"
    assert {"a & b", "here"} <= {one.text for one in drawn.iter(f"{SVG}text")}


@pytest.mark.parametrize(("highest", "top"), [(0, 1), (0.7, 0.8), (1, 1), (8.4, 10), (12.8, 20), (81, 100)])
def test_an_axis_ends_at_a_round_number(highest: float, top: float) -> None:
    assert line_chart.choose_top(highest) == pytest.approx(top)
