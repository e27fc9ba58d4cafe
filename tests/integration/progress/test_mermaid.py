"""The chart of the job summary, read by Mermaid's own parser: GitHub shows an error instead of one that is none."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.timeline.pages import render_gantt
from ci_buildx.progress.timeline.timeline import read_timeline
from devcluster import programs, toolchain
from tests.unit.progress.recorded import T0
from tests.unit.progress.timeline.pictured import play, two_nodes, vertex

READER = Path(__file__).with_name("read.mjs")
WORDS = (
    *("gantt", "title", "section", "dateFormat", "axisFormat", "todayMarker", "click", "href", "call", "vert", "end"),
    *("accTitle: x", "accDescr {", "milestone", "active", "2024-01-01", "1d", "after a", "tickInterval 1day"),
    *("excludes weekends", "weekday monday", "%%{init: {}}%%", "---", "```", "<b>", "&amp;", "#59;", "🙂", "\\n"),
    *(":", ";", "#", ",", "%%", '"', "'", "{", "}", "[", "]", "(", ")", "|", "->", "=", "/", "\\", "~", "é", "\t"),
)


@pytest.fixture(scope="module")
def modules() -> Path:
    """The node_modules folder in which Mermaid is installed."""
    programs.install("mermaid")
    return programs.path("mermaid").parents[2]


def understood(charts: list[str], modules: Path) -> list[dict[str, Any]]:
    command = [toolchain.node(), READER, modules]
    done = subprocess.run(command, input=json.dumps(charts), capture_output=True, text=True, timeout=120, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_build_on_two_nodes_is_read_as_it_is(modules: Path) -> None:
    """Sections are nodes, a task is a step; what came from the cache is done, what the end waited for active."""
    (chart,) = understood([render_gantt(two_nodes(), title="registry.example/app:1")], modules)
    assert "error" not in chart
    assert chart["sections"] == ["kube-builder", "linux/amd64", "linux/arm64"]
    assert {task["section"] for task in chart["tasks"]} == set(chart["sections"])
    assert any(task["active"] for task in chart["tasks"])
    assert not any(task["crit"] for task in chart["tasks"])
    cached = [task for task in chart["tasks"] if task["done"]]
    assert cached
    assert all("(cached)" in task["name"] for task in cached)
    assert all(task["begin"] < task["end"] < 60_000 for task in chart["tasks"])


def test_no_name_of_a_step_breaks_the_chart(modules: Path) -> None:
    dice = random.Random(20261125)
    names = [*WORDS, *(" ".join(dice.choices(WORDS, k=dice.randint(2, 6))) for _ in range(150))]
    for chart, name in zip(
        understood([render_gantt(one_step(name), title=name) for name in names], modules), names, strict=True
    ):
        assert "error" not in chart, name
        (task,) = chart["tasks"]
        assert (task["begin"], task["end"], task["crit"]) == (0, 1000, True), name
        assert task["name"].endswith("(1.00 s)"), name


def one_step(name: str) -> Any:
    graph = StepGraph()
    play(graph, "", vertex("a", name, 0.0, 1.0, error=name))
    return read_timeline(graph, now=T0 + 1)


def test_the_parser_itself_refuses_what_is_no_chart(modules: Path) -> None:
    (chart,) = understood(["gantt\n    section\n"], modules)
    assert "Parse error" in chart["error"]
