"""Seeded hostile text in every place that others fill: no display, page, picture or chart obeys it."""

from __future__ import annotations

import io
import random
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.display import open_display
from ci_buildx.progress.summary import BuildReport
from ci_buildx.progress.timeline import pages, svg
from ci_buildx.progress.timeline.svg import TimelineCaption
from ci_buildx.settings.values import ProgressMode

PIECES = (
    *("::set-output name=x::y", "::add-mask::x", "##[error]x", "::", "#", "%", "%0A::error::x", "%25"),
    *("\r", "\n", "\v", "\f", "\0", "\b", "\x1c", "\x85", "\xa0", "\u2028", "\u202e", "\u2066", "\u200b"),
    *("\x1b]52;c;aa\x07", "\x1b[0K", "\x9b2J", "\x1b", "[31m", "section_start:1:a\r\x1b[0K", "\x1b[31m"),
    *("]]>", "<script>alert(1)</script>", "&lt;", '"onload="x', "```", "click a href", "a", " "),
)
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
OURS = {
    ProgressMode.TTY: re.compile(r"\x1b\[\?(?:2026|25)[hl]|\x1b\[[KJ]|\r?\x1b\[\d+A|\r(?=\x1b|\[)"),
    ProgressMode.GITLAB: re.compile(r"\x1b\[0Ksection_(?:start|end):\d+:kube_builder_[a-z]+\r\x1b\[0K"),
}
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
COMMAND = re.compile(r"::(?:group|endgroup|warning title=kube-builder)::")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def build(chance: random.Random, mode: ProgressMode) -> tuple[str, BuildReport]:
    """What a build shows whose every text is hostile."""

    def text() -> str:
        return "".join(chance.choices(PIECES, k=chance.randint(1, 6)))

    stream = Terminal() if mode is ProgressMode.TTY else io.StringIO()
    times = iter(range(1_000_000))
    shown = open_display(mode, stream, env={}, clock=lambda: float(next(times)))
    running = Vertex(digest="sha256:1", name=text(), started=1.0)
    failed = Vertex(digest="sha256:2", name=text(), started=1.0, completed=2.0, error=text(), inputs=("sha256:1",))
    shown.update(StatusUpdate(vertexes=(running, failed)), chance.choice(("", "amd64")))
    part = VertexStatus(
        vertex="sha256:1", id=text(), name=text(), current=1, total=2, timestamp=1.0, started=1.0, completed=2.0
    )
    log = VertexLog(vertex="sha256:1", timestamp=1.0, data=f"{text()}\n{text()}".encode())
    finding = VertexWarning(
        vertex="sha256:1", level=1, short=text(), detail=(text(),), url=text(), filename=text(), ranges=((3, 3),)
    )
    shown.update(StatusUpdate(statuses=(part,), logs=(log,), warnings=(finding,)))
    shown.warn(text())
    with shown.begin_phase(text(), text()):
        pass
    report = shown.report(text(), failure=text())
    shown.close(SolveError(text(), excerpt=text()))
    return stream.getvalue(), report


@pytest.mark.parametrize("mode", [mode for mode in ProgressMode if mode is not ProgressMode.AUTO])
def test_no_log_obeys_it(mode: ProgressMode) -> None:
    chance = random.Random(11)
    for _ in range(60):
        log, _ = build(chance, mode)
        rest = COLOUR.sub("", OURS[mode].sub("", log) if mode in OURS else log)
        assert not OBEYED.search(rest), repr(rest)
        for line in log.splitlines() if mode is ProgressMode.GITHUB else ():
            if line.lstrip().startswith("::"):
                assert COMMAND.match(line), line
            else:
                assert "##[" not in line, line


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_no_picture_page_or_chart_obeys_it() -> None:
    chance = random.Random(12)
    for _ in range(60):
        _, report = build(chance, ProgressMode.PLAIN)
        caption = TimelineCaption(title=report.title, facts="x", failure=report.failure)
        for element in ET.fromstring(svg.render_svg(report.timeline, caption)).iter():
            assert element.tag.partition("}")[2] in ("svg", "style", "rect", "text", "path", "g", "title")
            assert not [name for name in element.attrib if name.startswith("on")]
        page = Page()
        page.feed(pages.render_page(report.timeline, caption))
        assert page.scripts == 1
        chart = pages.render_gantt(report.timeline, title=report.title)
        assert not OBEYED.search(chart)
        for line in chart.splitlines():
            assert not re.search(r"[`<>;#]|%%", line), line
            assert not line.strip().startswith(("click", "href", "call")), line
