"""The timeline of a build: runs and waits of each step, and the critical path. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import VertexStatus
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.step import BuildStep, strip_control_characters

TOLERANCE = 0.002
"""Seconds by which a step may appear to start before its inputs ended: the accuracy of the nodes' clocks."""


class StepRun(NamedTuple):
    """A run of a step, by our clock (seconds since the epoch)."""

    step: BuildStep
    begin: float
    end: float


def find_critical_path(graph: StepGraph, runs: Mapping[int, Sequence[StepRun]]) -> list[StepRun]:
    """Return the critical path: the chain of runs up to the one that ended last, in order of time.

    ``runs`` holds those of each step by the step's ``id()``. A run waited for whichever of its inputs, or of its own
    earlier runs, ended last. If it has none of these (sources, exports, and our own phases, for which BuildKit reports
    no inputs), it is assumed to have waited for the run that ended last before it on its node, or on any node for a
    phase of our own.
    """
    everything = sorted((run for own in runs.values() for run in own), key=_sort_by_end)
    if not everything:
        return []
    ends = [run.end for run in everything]
    failed = any(run.step.failed for run in everything)
    chain = [everything[-1]]
    seen = {chain[0]}
    while True:
        now = chain[-1]
        inputs = [run for step in graph.list_inputs(now.step) for run in runs.get(id(step), ())]
        known = [run for run in (*inputs, *runs[id(now.step)]) if _precedes_run(run, now) and run not in seen]
        last = max(known, key=_sort_by_end, default=None)
        if last is None:
            ended = islice(reversed(everything), len(ends) - bisect_right(ends, now.begin + TOLERANCE), None)
            candidates = (run for run in ended if _precedes_run(run, now) and run not in seen)
            last = next((run for run in candidates if _can_delay(run, now, failed=failed)), None)
        if last is None:
            return chain[::-1]
        chain.append(last)
        seen.add(last)


def _sort_by_end(run: StepRun) -> tuple[float, float]:
    return run.end, run.begin


def _can_delay(run: StepRun, now: StepRun, *, failed: bool) -> bool:
    """Return whether a run without known inputs can have waited for another.

    Cached steps cause no wait, nor do steps that were canceled because another one failed.
    """
    if run.step.cached or (failed and run.step.canceled):
        return False
    return now.step.ours or run.step.ours or run.step.key[0] == now.step.key[0]


def _precedes_run(run: StepRun, now: StepRun) -> bool:
    return run.end <= now.begin + TOLERANCE and run.begin <= now.begin


OURS = "kube-builder"
"""The section of our own phases."""
SHARED = "build"
"""The section of steps without a platform, if their node is unknown."""

_PREFIX = re.compile(r"\[(?P<platform>[a-z]+/[a-z0-9_]+(?:/[a-z0-9]+)?)(?P<end>[ \]])")
_WIRE = re.compile(r"(?P<push>pushing|writing|exporting cache)|transferring|sha256:[0-9a-f]+$|importing|sending")


class SpanKind(StrEnum):
    """The activity in a span of time."""

    RUN = "running"
    CACHED = "cached"
    TRANSFER = "transfer"
    PUSH = "push"
    PHASE = "kube-builder's own"
    FAILED = "failed"
    CANCELED = "canceled"
    INPUTS = "waiting for its inputs"
    QUEUE = "waiting for its turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLap:
    """One of our own phases that is not displayed; times by our clock, in seconds since the epoch."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpan:
    """A span of time by our clock, in seconds since the epoch; ``critical`` if it is on the critical path."""

    begin: float
    end: float
    kind: SpanKind
    name: str = ""
    critical: bool = False

    @property
    def seconds(self) -> float:
        """Its duration in seconds."""
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """One step: ``runs`` do not overlap, ``parts`` are within them, ``waits`` are between or before them.

    ``steps`` is the number of steps in a folded row.
    """

    name: str
    section: str
    runs: tuple[TimeSpan, ...]
    parts: tuple[TimeSpan, ...] = ()
    waits: tuple[TimeSpan, ...] = ()
    cached: bool = False
    error: str = ""
    steps: int = 1

    @property
    def begin(self) -> float:
        """The start of its first run."""
        return self.runs[0].begin

    @property
    def end(self) -> float:
        """The end of its last run."""
        return max(run.end for run in self.runs)

    @property
    def seconds(self) -> float:
        """The total duration of its runs in seconds."""
        return sum(run.seconds for run in self.runs)

    @property
    def waited(self) -> float:
        """The seconds that it was queued after its inputs were ready."""
        return sum(wait.seconds for wait in self.waits if wait.kind is SpanKind.QUEUE)

    @property
    def critical(self) -> bool:
        """Whether it is on the critical path."""
        return any(run.critical for run in self.runs)

    @property
    def kind(self) -> SpanKind:
        """The activity of its longest run."""
        return max(self.runs, key=lambda run: run.seconds).kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A whole build: rows by section, our own first, in order of their start; ``begin`` and ``end`` of the build."""

    rows: tuple[TimelineRow, ...]
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """The build's duration in seconds."""
        return max(0.0, self.end - self.begin)

    @property
    def critical_seconds(self) -> float:
        """The total duration of the steps on the critical path in seconds."""
        return sum(run.seconds for row in self.rows for run in row.runs if run.critical)

    def group_sections(self) -> list[tuple[str, list[TimelineRow]]]:
        """Return the rows by the names of their sections."""
        found: dict[str, list[TimelineRow]] = {}
        for row in self.rows:
            found.setdefault(row.section, []).append(row)
        return list(found.items())


def read_timeline(graph: StepGraph, *, now: float, laps: Iterable[PhaseLap] = ()) -> Timeline:
    """Return the timeline of a graph; what still runs ends ``now``."""
    steps = [step for step in graph.steps if not step.hidden]
    runs = {id(step): _list_runs(step, now) for step in steps}
    chain = {(id(run.step), run.begin, run.end) for run in find_critical_path(graph, runs)}
    places = _RowPlaces(steps)
    rows = [_make_lap_row(lap, first=min((runs[id(step)][0].begin for step in steps), default=lap.end)) for lap in laps]
    for step in steps:
        own = runs[id(step)]
        inputs = [run for one in graph.list_inputs(step) for run in runs.get(id(one), ())]
        rows.append(
            TimelineRow(
                name=places.name(step),
                section=places.find_section(step),
                runs=tuple(_make_span(step, run, (id(step), run.begin, run.end) in chain) for run in own),
                parts=tuple(_list_parts(step, now)),
                waits=tuple(_list_waits(own, inputs)),
                cached=step.cached,
                error=strip_control_characters(step.error.partition("\n")[0]),
            )
        )
    rows.sort(key=lambda row: (row.section != OURS, row.section, row.begin, row.end))
    begin = min((row.begin for row in rows), default=now)
    return Timeline(rows=tuple(rows), begin=begin, end=max((row.end for row in rows), default=now))


def _list_runs(step: BuildStep, now: float) -> list[StepRun]:
    """Return a step's intervals by our clock, with overlaps merged: a group's members run in parallel."""
    merged: list[StepRun] = []
    for start in sorted(step.intervals):
        end = step.intervals[start]
        begin = start + step.skew
        until = max(begin, now if end is None else end + step.skew)
        if merged and begin < merged[-1].end:
            merged[-1] = StepRun(step, merged[-1].begin, max(until, merged[-1].end))
        else:
            merged.append(StepRun(step, begin, until))
    return merged


def _make_lap_row(lap: PhaseLap, *, first: float) -> TimelineRow:
    """Return the row of an undisplayed phase; it is critical if it ended before the first displayed step started."""
    span = TimeSpan(begin=lap.begin, end=lap.end, kind=SpanKind.PHASE, critical=lap.end <= first + TOLERANCE)
    return TimelineRow(name=lap.name, section=OURS, runs=(span,))


def _make_span(step: BuildStep, run: StepRun, critical: bool) -> TimeSpan:
    return TimeSpan(begin=run.begin, end=run.end, kind=_choose_kind(step), critical=critical)


def _choose_kind(step: BuildStep) -> SpanKind:
    if step.canceled:
        return SpanKind.CANCELED
    if step.failed:
        return SpanKind.FAILED
    if step.ours:
        return SpanKind.PHASE
    return SpanKind.CACHED if step.cached else SpanKind.RUN


def _list_parts(step: BuildStep, now: float) -> Iterator[TimeSpan]:
    """Yield the transfers of a step; they end with their step at the latest."""
    for status in step.statuses.values():
        match = _WIRE.match(status.id)
        if match and status.started is not None:
            begin = status.started + step.skew
            end = min(_find_end(status, step, now), step.finished_at if step.completed else now)
            kind = SpanKind.PUSH if match["push"] else SpanKind.TRANSFER
            yield TimeSpan(begin=begin, end=max(begin, end), kind=kind, name=strip_control_characters(status.id))


def _find_end(status: VertexStatus, step: BuildStep, now: float) -> float:
    """Return the end of a part; an unclosed one ends with its latest report, or still runs."""
    end = status.completed
    if end is None:
        end = status.timestamp if step.completed else None
    return now if end is None else end + step.skew


def _list_waits(own: Sequence[StepRun], inputs: Sequence[StepRun]) -> Iterator[TimeSpan]:
    """Yield the time before each run: first waiting for inputs, then for a free slot in the daemon.

    The time in which inputs ran before the first run does not count, because the step had not been requested yet.
    """
    before: float | None = None
    for run in own:
        ended = [one.end for one in inputs if one.end <= run.begin + TOLERANCE]
        ready = min(run.begin, max(ended, default=run.begin if before is None else before))
        if before is not None and ready > before:
            yield TimeSpan(begin=before, end=ready, kind=SpanKind.INPUTS)
        ready = max(ready, before or ready)
        if run.begin > ready:
            yield TimeSpan(begin=ready, end=run.begin, kind=SpanKind.QUEUE)
        before = run.end


class _RowPlaces:
    """The section of each step: our own phases, a platform, or what a node's platforms share."""

    def __init__(self, steps: Sequence[BuildStep]) -> None:
        self._platforms: dict[str, dict[str, None]] = {}
        for step in steps:
            if not step.ours and (match := _PREFIX.match(step.name)):
                self._platforms.setdefault(step.key[0], {})[match["platform"]] = None

    def find_section(self, step: BuildStep) -> str:
        """Return the section of a step."""
        if step.ours:
            return OURS
        node = step.key[0]
        platforms = list(self._platforms.get(node, ()))
        if match := _PREFIX.match(step.name):
            return match["platform"]
        return platforms[0] if len(platforms) == 1 else node or SHARED

    def name(self, step: BuildStep) -> str:
        """Return a step's name without what its section already shows."""
        name = strip_control_characters(step.name)
        if match := _PREFIX.match(name):
            rest = name[match.end() :]
            return f"[{rest}" if match["end"] == " " else rest.strip()
        if step.ours:
            return name.removeprefix("[internal] ")
        node = step.key[0]
        if node and name.startswith(f"[{node}] "):
            return name[len(node) + 3 :]
        return f"[{name[len(node) + 2 :]}" if node and name.startswith(f"[{node} ") else name
