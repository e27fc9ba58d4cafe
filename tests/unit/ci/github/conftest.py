from __future__ import annotations

import io

import pytest

from ci_buildx.model.finding import finding_of
from ci_buildx.model.record import replace
from ci_buildx.progress import display
from ci_buildx.progress.report import Report
from ci_buildx.settings.values import Progress
from tests.unit.ci.fake_job import FakeJob
from tests.unit.progress.recorded import BUILD, T0


def report() -> Report:
    """What a build has to say of itself at its end."""
    shown = display.open(Progress.QUIET, io.StringIO(), env={}, clock=lambda: T0 + 3)
    for _, status in BUILD:
        shown.update(status)
    said = shown.report("registry.example/team/app:1", laps=(), failure="")
    return replace(said, findings=tuple(finding_of(warning) for warning in shown.warnings()))


@pytest.fixture
def job(job: FakeJob) -> FakeJob:
    job.report = report()
    return job
