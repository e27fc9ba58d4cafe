"""Pictures, pages and charts of builds.

After a change that is meant, and looked at: GOLDEN=rewrite pytest tests/unit/progress/timeline/test_pictures.py
"""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.timeline import pages
from ci_buildx.progress.timeline import svg as timeline_svg
from ci_buildx.progress.timeline.svg import TimelineCaption
from ci_buildx.progress.timeline.timeline import Timeline, read_timeline
from tests.unit.progress.recorded import T0
from tests.unit.progress.timeline.pictured import COMPILE, many_steps, play, two_nodes, vertex

GOLDEN = Path(__file__).parent / "golden"
CAPTION = TimelineCaption(title="registry.example/app:1", facts="9.00 s · 10 steps, 2 cached (20%)")
SVG = "{http://www.w3.org/2000/svg}"
TASK = re.compile(r"    [^:;#%\n{}]+ :(crit, |active, |done, )?\d+, \d+")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("two-nodes.svg", timeline_svg.render_svg(two_nodes(), CAPTION)),
        ("two-nodes.mmd", pages.render_gantt(two_nodes(), title=CAPTION.title)),
    ],
)
def test_golden(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("GOLDEN") == "rewrite":
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def bars(svg: str) -> list[list[tuple[float, float]]]:
    """Left and right of the bars of each row."""
    root = ElementTree.fromstring(svg)
    return [
        [
            (float(bar.get("x", "")), float(bar.get("x", "")) + float(bar.get("width", "")))
            for bar in group
            if bar.get("rx")
        ]
        for group in root.iter(f"{SVG}g")
    ]


def test_bars_lie_on_one_scale() -> None:
    drawn = two_nodes()
    rows = bars(timeline_svg.render_svg(drawn, CAPTION))
    left, right = rows[0][0][0], max(end for row in rows for _, end in row)
    for row, found in zip(drawn.rows, rows, strict=True):
        for run, (x, end) in zip(row.runs, found, strict=False):
            assert (x - left) / (right - left) == pytest.approx((run.begin - drawn.begin) / drawn.seconds, abs=0.001)
            if end - x > 2:
                assert (end - x) / (right - left) == pytest.approx(run.seconds / drawn.seconds, abs=0.001)


@pytest.mark.parametrize("drawn", [two_nodes(), many_steps(500)], ids=["few", "many"])
def test_nothing_overlaps(drawn: Timeline) -> None:
    root = ElementTree.fromstring(timeline_svg.render_svg(drawn, CAPTION))
    taken: list[float] = []
    for group in root.iter(f"{SVG}g"):
        name, note = group.findall(f"{SVG}text")
        assert float(name.get("x", "")) + 7.3 * len(name.text or "") < 404
        ends = [float(bar.get("x", "")) + float(bar.get("width", "")) for bar in group if bar.get("rx")]
        assert max(ends) < float(note.get("x", ""))
        assert float(note.get("x", "")) + 6.5 * len(note.text or "") < timeline_svg.WIDTH
        taken.append(float(name.get("y", "")))
    assert all(below - above >= 20 for above, below in pairwise(taken))
    assert float(root.get("height", "")) < 4000


def one_step(name: str) -> Timeline:
    graph = StepGraph()
    play(graph, "", vertex("a", name, 0.0, 1.0, error=name))
    return read_timeline(graph, now=T0 + 1)


@pytest.mark.parametrize("years", [1, 60, 9998])
def test_a_clock_that_is_years_off_makes_a_small_picture(years: int) -> None:
    graph = StepGraph()
    play(graph, "", vertex("a", "RUN x", -T0, years * 365 * 86400.0 - T0))
    picture = timeline_svg.render_svg(read_timeline(graph, now=T0), CAPTION)
    assert len(picture) < 20_000
    ElementTree.fromstring(picture)


NAMES = st.text(max_size=120) | st.sampled_from(
    [
        "section x",
        "gantt",
        "click me",
        "2024-01-01 is a date",
        "a:b;c#d,e%%f",
        "`" * 9,
        "x" * 500,
        "\ud800",
        "%%{init: {}}%%",
    ]
)


@given(NAMES)
def test_any_name_makes_a_whole_picture_and_page(name: str) -> None:
    caption = TimelineCaption(title=name, facts=name, failure=name)
    ElementTree.fromstring(timeline_svg.render_svg(one_step(name), caption).encode())
    page = pages.render_page(one_step(name), caption)
    page.encode()
    parser = _Tags()
    parser.feed(page)
    assert parser.scripts == 1
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace(timeline_svg.escape_xml(name), "")


@given(NAMES)
def test_any_name_makes_a_chart_that_mermaid_reads(name: str) -> None:
    head, *lines = pages.render_gantt(one_step(name), title=name or "untitled").splitlines()
    assert head == "gantt"
    keywords = [
        line.split()[0]
        for line in lines
        if line.split()[0] in ("title", "section", "dateFormat", "axisFormat", "todayMarker")
    ]
    assert keywords == ["title", "dateFormat", "axisFormat", "todayMarker", "section"]
    assert not any("```" in line for line in lines)
    assert TASK.fullmatch(lines[-1])
    assert len(lines) == 6


def test_names_in_a_chart_look_as_they_are() -> None:
    chart = pages.render_gantt(two_nodes())
    assert "section linux/amd64\n" in chart
    assert "RUN go build -ldflags='-s -w' -o /out/app" in chart
    assert COMPILE not in chart


def test_a_page_lists_every_step_with_its_times() -> None:
    page = pages.render_page(many_steps(200), CAPTION)
    assert page.count('<tr class="critical">') + page.count('<tr><td class="section">') == len(many_steps(200).rows)
    assert '<td class="error">exit code: 1</td>' in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.10 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert timeline_svg.format_duration(seconds) == text


class _Tags(HTMLParser):
    scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
