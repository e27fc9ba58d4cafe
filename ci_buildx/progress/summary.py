"""The result of a build in figures: steps, cache hits, durations."""

from __future__ import annotations

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.step import is_canceled
from ci_buildx.progress.timeline.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A step's result: ``seconds`` it ran, and its ``node`` ("" for our own phases and builds with one node)."""

    name: str
    node: str
    seconds: float
    cached: bool
    error: str

    @property
    def canceled(self) -> bool:
        """Whether it was stopped because the build ended."""
        return is_canceled(self.error)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of its own."""
        return bool(self.error) and not self.canceled


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """The steps in the order in which they started, and the number of findings of build checks."""

    steps: tuple[StepTime, ...]
    warnings: int

    @property
    def completed(self) -> tuple[StepTime, ...]:
        """The steps of the Dockerfile; internal steps are never cached and not informative."""
        return tuple(step for step in self.steps if _is_work(step))

    @property
    def cached(self) -> int:
        """Number of these steps that were cached."""
        return sum(step.cached for step in self.completed)

    @property
    def cached_share(self) -> float:
        """Share of cached steps from 0 to 1; 0 without steps."""
        return self.cached / len(self.completed) if self.completed else 0.0

    def format_counts(self) -> str:
        """Format the counts, such as ``7 steps, 5 cached (71%)``."""
        count = len(self.completed)
        return f"{count} step{'' if count == 1 else 's'}, {self.cached} cached ({self.cached_share:.0%})"


def summarize_graph(graph: StepGraph, *, now: float) -> BuildSummary:
    """Return the summary of a graph; running steps count until ``now``."""
    steps = tuple(
        StepTime(
            name=step.name,
            node=step.key[0],
            seconds=step.compute_duration(now),
            cached=step.cached,
            error=step.error,
        )
        for step in graph.steps
        if not step.hidden
    )
    return BuildSummary(steps=steps, warnings=len(graph.warnings))


def _is_work(step: StepTime) -> bool:
    """Return whether a step is a Dockerfile instruction: those are numbered, ``[stage 2/3] RUN …``."""
    head, bracket, _ = step.name.removeprefix("[").partition("] ")
    number, _, count = head.rpartition(" ")[2].partition("/")
    return bool(bracket) and number.isdecimal() and count.isdecimal()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """The report of a build: ``title`` names what was built, ``failure`` is a one-line error, "" on success.

    ``findings`` are those of build checks so far.
    """

    title: str
    timeline: Timeline
    summary: BuildSummary
    findings: tuple[CheckFinding, ...] = ()
    failure: str = ""

    def format_facts(self) -> str:
        """Format the key facts, such as ``17.2 s · 18 steps, 2 cached (11%) · critical path 16.1 s``."""
        from ci_buildx.progress.timeline.svg import format_duration

        parts = [format_duration(self.timeline.seconds), self.summary.format_counts()]
        if self.timeline.critical_seconds:
            parts.append(f"critical path {format_duration(self.timeline.critical_seconds)}")
        return " · ".join(parts)
