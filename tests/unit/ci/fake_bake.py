"""A stand-in for the cluster of bake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ci_buildx.bake.jobs import TargetJob
from ci_buildx.bake.run import BakeOutcome, BakeSession
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.model.record import replace
from tests.unit.ci.fake_job import RESULT
from tests.unit.ci.github.conftest import report


@dataclass
class FakeBake:
    """Replaces :func:`run.run_targets`: records the targets and returns a result for each, without a cluster."""

    jobs: Sequence[TargetJob] = ()
    session: BakeSession | None = None
    failure: BaseException | None = None
    events: list[str] = field(default_factory=list)

    def run(self, jobs: Sequence[TargetJob], session: BakeSession) -> BakeOutcome:
        self.jobs, self.session = jobs, session
        assert session.identity is not None
        name = session.identity.name
        session.announce(BuilderLocation(name=name, namespace=name, exclusive=True))
        session.display_stream.write("#1 the log ::error::of a step\n")
        if session.hear is not None:
            session.hear(report())
        if self.failure is not None:
            raise self.failure
        results = {job.name: replace(RESULT, references=job.settings.build.tags) for job in jobs}
        outcome = BakeOutcome(results=results)
        session.deliver(outcome)
        return outcome

    def settings(self, target: str) -> object:
        return next(job.settings.build for job in self.jobs if job.name == target)
