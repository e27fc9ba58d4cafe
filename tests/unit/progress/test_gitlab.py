"""Sections of a GitLab log: each phase folds, in order, once."""

from __future__ import annotations

import io
import re

from ci_buildx.progress.ci_logs import GitLabLog
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.renderer import TextOutlet
from tests.unit.progress.recorded import BUILD, T0

MARK = re.compile(r"\x1b\[0Ksection_(start|end):(\d+):(\w+)\r\x1b\[0K")


def log_of(*, failing: bool = False) -> str:
    stream, now = io.StringIO(), [T0]
    outlet = GitLabLog(TextOutlet(stream), clock=lambda: now[0])
    display = BuildDisplay(outlet, StepGraph(), clock=lambda: now[0])
    for name in ("creating builder b", "booting builder"):
        with display.begin_phase(name):
            now[0] += 1
    for seconds, status in BUILD:
        now[0] = T0 + 3 + seconds
        display.update(status)
    with display.begin_phase("removing builder b"):
        now[0] += 1
    display.close()
    return stream.getvalue()


def test_phases_are_sections_that_follow_each_other() -> None:
    marks = [(kind, name.removeprefix("kube_builder_")) for kind, _, name in MARK.findall(log_of())]
    assert marks == [
        *(("start", "builder"), ("end", "builder")),
        *(("start", "build"), ("end", "build")),
        *(("start", "teardown"), ("end", "teardown")),
    ]


def test_steps_stand_in_their_section() -> None:
    log = MARK.sub(r"<\1 \3>", log_of())
    builder, _, rest = log.partition("<end kube_builder_builder>")
    build, _, teardown = rest.partition("<end kube_builder_build>")
    assert "kube-builder: Builder\n#1 [internal] creating builder b\n" in builder
    assert "booting builder" in builder
    assert "RUN make" in build
    assert "removing builder" in teardown


def test_findings_and_errors_stand_outside_of_all_sections() -> None:
    log = log_of()
    assert log.index("warning found") > log.rindex("section_end")


def test_every_section_ends_after_it_began() -> None:
    times = [int(time) for _, time, _ in MARK.findall(log_of())]
    assert times == sorted(times)
