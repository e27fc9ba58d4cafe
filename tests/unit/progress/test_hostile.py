"""Text of others is inert, and seeded secrets are hidden, wherever a build is shown."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import threading
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ci_buildx.build.result import DIGEST, NAME, read_digest, read_image_names
from ci_buildx.buildkit.messages import UsageRecord
from ci_buildx.ci.github import summary
from ci_buildx.ci.github.commands import filter_commands, write_annotation
from ci_buildx.ci.github.summary import SummaryPage
from ci_buildx.ci.gitlab import job
from ci_buildx.cli import doctor, du, formatting
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model.masker import list_spellings
from ci_buildx.model.record import replace
from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress import display
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.summary import BuildReport
from ci_buildx.progress.timeline import pages
from ci_buildx.progress.timeline import svg as timeline_svg
from ci_buildx.progress.timeline.timeline import PhaseLap
from ci_buildx.settings.values import ProgressMode
from tests.unit.ci.fake_job import RESULT
from tests.unit.progress.recorded import T0

ESC, BEL, C1 = "\x1b", "\x07", "\x9b"
HOSTILE = (
    f"a{ESC}]52;c;aGk={BEL}b",
    f"a{ESC}]52;c;aGk=",
    f"a{ESC}]0;title{ESC}\\b",
    "a\x9d0;title\x9cb\x90q\x9c",
    f"{ESC}[2J{ESC}[H{C1}2Jtop",
    f"{ESC}[0Ksection_start:1:x\r{ESC}[0Ktitle",
    "x\n::set-output name=a::b\n  ::add-mask::c",
    "##[add-mask]x %0A::error::y",
    "x\r::stop-commands::t",
    "[a](https://evil.example) ![b](https://evil.example/i) @team/all #1 www.evil.example <img src=x onerror=y>",
    "```\n# out\n````\n~~~\n| a | b |",
    "</script><script>alert(1)</script></title></svg>\"'><b onclick='x'>&amp;",
    'done :crit, 0, 1\nclick a href "javascript:x"; %%{init: {}}%% section x',
    "a\u0085b\u2028::error::c\u2029d\x0be\x0cf",
    "abc\u202egnp\u2066x\u2069",
    "\x00\x08\x7f\ufeff",
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
MODES = (ProgressMode.PLAIN, ProgressMode.RAWJSON, ProgressMode.QUIET, ProgressMode.GITHUB, ProgressMode.GITLAB)
SECRET = "kQ7vTzLm2XwRb9Hs"


def update(text: str) -> Iterator[StatusUpdate]:
    """A failed step, a group, a part, a finding and a step that ends well, all named so."""
    group = ProgressGroup(id="g", name=text)
    yield StatusUpdate(
        vertexes=(
            Vertex(digest="a", name=text, started=T0, completed=T0 + 3, error=f"failed: {text}"),
            Vertex(digest="b", name=f"[linux/amd64 1/2] {text}", started=T0 + 1, completed=T0 + 2),
            Vertex(digest="c", name="member", started=T0, completed=T0 + 2, group=group),
        ),
        statuses=(
            VertexStatus(id=text, name=text, vertex="b", current=1, timestamp=T0 + 1, started=T0, completed=T0 + 1),
        ),
        warnings=(
            VertexWarning(vertex="b", short=text, detail=(text,), url=text, filename="Dockerfile", ranges=((1, 1),)),
        ),
    )


def play(shown: BuildDisplay, text: str, *, output: bool) -> BuildReport:
    for one in update(text):
        shown.update(one)
    if output:
        shown.update(
            StatusUpdate(logs=(VertexLog(vertex="a", timestamp=T0 + 1, data=text.encode(errors="replace") + b"\n"),))
        )
    with shown.begin_phase("booting builder", text):
        pass
    shown.warn(text)
    report = shown.report(text, laps=[PhaseLap(name="planning", begin=T0, end=T0 + 1)], failure=text)
    shown.close(SolveError(text, excerpt=text))
    return report


def on_stream(
    mode: ProgressMode, text: str, *, output: bool = True, hidden: tuple[str, ...] = ()
) -> tuple[str, BuildReport]:
    stream = io.StringIO()
    into = stream if mode in (ProgressMode.GITHUB, ProgressMode.GITLAB) else filter_commands(stream)
    shown = display.open_display(mode, into, env={}, clock=lambda: T0 + 4, hidden=hidden)
    report = play(shown, text, output=output)
    return stream.getvalue(), report


def on_terminal(text: str, *, output: bool = True, hidden: tuple[str, ...] = ()) -> str:
    master, slave = pty.openpty()
    pieces: list[bytes] = []

    def collect() -> None:
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            pieces.append(piece)

    reader = threading.Thread(target=collect)
    reader.start()
    with os.fdopen(slave, "w", encoding="utf-8", errors="replace") as stream:
        shown = display.open_display(
            ProgressMode.TTY, stream, env={"TERM": "xterm"}, clock=lambda: T0 + 4, hidden=hidden
        )
        play(shown, text, output=output)
    reader.join(10)
    os.close(master)
    return b"".join(pieces).decode()


OWN_OF_TERMINAL = re.compile(r"\x1b\[(?:\?2026[hl]|\?25[hl]|[KJ]|\d*A|[0-9;]*m)|\r\n?")
SECTION = re.compile(r"\x1b\[0Ksection_(?:start|end):\d+:kube_builder_[a-z]+\r\x1b\[0K")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("mode", MODES)
def test_no_log_obeys_a_build(mode: ProgressMode, text: str) -> None:
    log, _ = on_stream(mode, text)
    left = COLOUR.sub("", SECTION.sub("", log))
    assert not OBEYED.search(left)
    for line in left.split("\n") if mode is not ProgressMode.GITLAB else ():  # which knows no such commands
        if line.lstrip().startswith("::"):
            assert line == "::endgroup::" or line.startswith(("::group::#", "::warning title=kube-builder::"))
            assert mode is ProgressMode.GITHUB
        else:
            assert "##[" not in line
    if mode is ProgressMode.RAWJSON:
        assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


@pytest.mark.parametrize("text", HOSTILE)
def test_no_terminal_obeys_a_build(text: str) -> None:
    assert not OBEYED.search(OWN_OF_TERMINAL.sub("", on_terminal(text)))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def tags(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    return parser.found


def pictures(report: BuildReport) -> tuple[str, str]:
    caption = timeline_svg.TimelineCaption(title=report.title, facts=report.format_facts(), failure=report.failure)
    return timeline_svg.render_svg(report.timeline, caption), pages.render_page(report.timeline, caption)


@pytest.mark.parametrize("text", HOSTILE)
def test_pictures_and_pages_hold_only_their_own_elements(text: str) -> None:
    svg, page = pictures(on_stream(ProgressMode.QUIET, text)[1])
    plain_svg, plain_page = pictures(on_stream(ProgressMode.QUIET, "plain")[1])
    ET.fromstring(svg)
    assert set(tags(svg)) == set(tags(plain_svg))
    assert set(tags(page)) == set(tags(plain_page))
    assert page.count("<script>") == page.count("</script>") == 1
    assert not OBEYED.search(svg + page)


TASK = re.compile(r"    [^:;#%`<>\"\\{}]+ :(?:crit, |active, |done, )?\d+, \d+")
HEAD = re.compile(r"gantt|    (?:dateFormat x|axisFormat [%A-Za-z.:]+|todayMarker off|section [^:;#%`<>\"\\{}]+)")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_chart_has_only_tasks_of_its_own(text: str) -> None:
    chart = pages.render_gantt(on_stream(ProgressMode.QUIET, text)[1].timeline)
    assert not OBEYED.search(chart)
    for line in chart.rstrip("\n").split("\n"):
        assert HEAD.fullmatch(line) or TASK.fullmatch(line), line
    assert sum(bool(TASK.fullmatch(line)) for line in chart.split("\n")) == 5


def outside_of_fences(markdown: str) -> str:
    lines, fence = [], ""
    for line in markdown.split("\n"):
        if fence:
            fence = "" if line.startswith("```") else fence
        elif line.startswith("```"):
            fence = line
        else:
            lines.append(line)
    assert not fence
    return "\n".join(lines)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_summary_holds_no_markdown_of_others(text: str) -> None:
    report = on_stream(ProgressMode.QUIET, text)[1]
    result = replace(RESULT, references=(text,), digest=text)
    artifacts = {text: f"https://git.example/{text}"}
    page = SummaryPage(
        report=report, seconds=1, error=text, result=result, inputs={"labels": text}, artifacts=artifacts
    )
    made = summary.render_summary(page)
    assert not OBEYED.search(made)
    shown = outside_of_fences(made)
    links, rest = shown[shown.index("Artifacts: ") :], shown[: shown.index("Artifacts: ")]
    assert re.fullmatch(r"Artifacts: \[<code>[^\[\]]*</code>\]\([^()\s<>]*\)\s*", links)
    for line in rest.split("\n"):
        for code in re.findall(r"<code>(.*?)</code>", line):
            assert not set("|`*_~[]!@\\$") & set(code.replace("***", ""))
            assert not re.search(r"(?i)www\.|https?:|<|#(?!\d+;)", code.replace("&#", "&"))
        without = re.sub(r"<code>.*?</code>|`[a-z-]+`", "", line)
        assert not re.search(r"[\[\]!@\\]|https?:", without), line
    assert {tag for tag, _ in tags(re.sub("&[^;]+;", "", shown))} <= {"code", "br", "details", "summary"}


@pytest.mark.parametrize("text", HOSTILE)
def test_an_annotation_is_one_command(text: str) -> None:
    stdout = io.StringIO()
    write_annotation(stdout, "error", text, file=text, line=3)
    line = stdout.getvalue()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    head, _, message = line.removeprefix("::error ").partition("::")
    assert [part.partition("=")[0] for part in head.split(",")] == ["file", "line", "title"]
    assert not OBEYED.search(message)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_report_of_variables_has_only_ours(text: str, tmp_path: Path) -> None:
    result = replace(RESULT, references=(text,), digest=text, image_id=text)
    job.write_result(tmp_path, result, {"CI_JOB_NAME": text})
    for line in (tmp_path / job.DOTENV).read_text(encoding="utf-8", errors="replace").splitlines():
        assert re.match(r"[A-Z0-9_]*KUBE_BUILDER_(?:DIGEST|IMAGEID|IMAGE|METADATA)=", line)


@pytest.mark.parametrize("text", [*HOSTILE, "sha256:ab\nLD_PRELOAD=/x"])
def test_what_is_no_digest_or_name_is_refused(text: str) -> None:
    with pytest.raises(BuildkitError, match="an invalid digest"):
        read_digest({DIGEST: text}, DIGEST)
    with pytest.raises(BuildkitError, match="invalid image name"):
        read_image_names({NAME: text.replace("@", "")})


def test_digests_and_names_are_taken_as_they_are() -> None:
    assert read_digest({DIGEST: RESULT.digest}, DIGEST) == RESULT.digest
    assert read_digest({}, DIGEST) == ""
    names = "docker.io/library/a:1,[::1]:5000/b-c/d_e:v1.2"
    assert read_image_names({NAME: f"{names},x@sha256:00"}) == tuple(names.split(","))


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_are_inert(text: str) -> None:
    record = UsageRecord(id=text, description=text, type=text, parents=(text,))
    tables = (
        formatting.format_table(("A", "B"), [[text, text]]),
        formatting.align_columns([[text, "x"], [text]]),
        du.format_block(record, T0, text),
        doctor._format_line("rights", "missing", text),
    )
    for table in tables:
        assert not OBEYED.search(table)
    assert formatting.format_table(("A", "B"), [[text, text]]).count("\n") == 2


@pytest.mark.parametrize("secret", [SECRET, "it's <s3cret> & 50%", 'a"b\\c:d;e#f,g`h'])
@pytest.mark.parametrize("named", ["{}", "https://ann:{}@host.example/x", "RUN curl -H 'Authorization: {}' -d x"])
def test_a_secret_is_in_nothing_that_is_shown(secret: str, named: str) -> None:
    hidden = list_spellings([secret])
    text = named.format(secret)
    shown = [on_stream(mode, text, output=False, hidden=hidden) for mode in MODES]
    logs = [log for log, _ in shown]
    logs += [
        b64decode(found).decode(errors="replace") for log in logs for found in re.findall(r'"short":"([^"]+)"', log)
    ]
    report = shown[0][1]
    page = SummaryPage(report=report, seconds=1)
    pieces = (*logs, on_terminal(text, output=False, hidden=hidden), *pictures(report), summary.render_summary(page))
    for piece in pieces:
        joined = "".join(piece.split())
        for begin in range(len(secret) - 8):
            part = secret[begin : begin + 9]
            assert "".join(part.split()) not in joined, (part, piece)
