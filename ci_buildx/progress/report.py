"""What is known of a build when it has ended, well or not: for summaries, annotations and pictures."""

from __future__ import annotations

from ci_buildx.model.finding import Finding
from ci_buildx.model.record import dataclass
from ci_buildx.progress.summary import Summary
from ci_buildx.progress.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``title`` names what was built, ``failure`` says in one line why there is no result ("" where there is one).

    ``findings`` are what build checks said until then.
    """

    title: str
    timeline: Timeline
    summary: Summary
    findings: tuple[Finding, ...] = ()
    failure: str = ""

    def facts(self) -> str:
        """``17.2 s · 18 steps, 2 cached (11%) · critical path 16.1 s``."""
        from ci_buildx.progress.timeline_svg import duration

        parts = [duration(self.timeline.seconds), self.summary.counts()]
        if self.timeline.critical_seconds:
            parts.append(f"critical path {duration(self.timeline.critical_seconds)}")
        return " · ".join(parts)
