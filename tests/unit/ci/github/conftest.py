from __future__ import annotations

import io

import pytest

from ci_buildx.model.record import replace
from ci_buildx.model.status import read_finding
from ci_buildx.progress import display
from ci_buildx.progress.summary import BuildReport
from ci_buildx.settings.values import ProgressMode
from tests.unit.ci.fake_job import FakeJob
from tests.unit.progress.recorded import BUILD, T0


def report() -> BuildReport:
    """What a build has to say of itself at its end."""
    shown = display.open_display(ProgressMode.QUIET, io.StringIO(), env={}, clock=lambda: T0 + 3)
    for _, status in BUILD:
        shown.update(status)
    said = shown.report("registry.example/team/app:1", laps=(), failure="")
    return replace(said, findings=tuple(read_finding(warning) for warning in shown.list_warnings()))


@pytest.fixture
def job(job: FakeJob) -> FakeJob:
    """The same, with a report for the job's summary."""
    job.report = report()
    return job
