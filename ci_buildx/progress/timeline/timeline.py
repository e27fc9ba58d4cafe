"""Which runs of which steps the end of a build waited for. Pure."""

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
"""Seconds by which a step may seem to begin before what it waited for ended: clocks of nodes are only that exact."""


class StepRun(NamedTuple):
    """A step at work, by our clock (seconds since the epoch)."""

    step: BuildStep
    begin: float
    end: float


def find_critical_path(graph: StepGraph, runs: Mapping[int, Sequence[StepRun]]) -> list[StepRun]:
    """The chain from the run that ended last back to the beginning, in the order of time.

    ``runs`` holds those of each step by the step's ``id()``. A run waited for whichever of its inputs, or of its own
    earlier runs, ended last. Where there is none of these (sources, exports; BuildKit names no inputs of our own phases
    either) it is taken to have waited for what ended last before it on its node, or anywhere for a phase of ours.
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
    """Whether a run that names no inputs can have waited for another.

    Nobody waits for what comes from the cache, nor for what was stopped because something else had failed.
    """
    if run.step.cached or (failed and run.step.canceled):
        return False
    return now.step.ours or run.step.ours or run.step.key[0] == now.step.key[0]


def _precedes_run(run: StepRun, now: StepRun) -> bool:
    return run.end <= now.begin + TOLERANCE and run.begin <= now.begin


OURS = "kube-builder"
"""The section of our own phases."""
SHARED = "build"
"""The section of steps that belong to no platform, where nothing says which node they ran on."""

_PREFIX = re.compile(r"\[(?P<platform>[a-z]+/[a-z0-9_]+(?:/[a-z0-9]+)?)(?P<end>[ \]])")
_WIRE = re.compile(r"(?P<push>pushing|writing|exporting cache)|transferring|sha256:[0-9a-f]+$|importing|sending")


class SpanKind(StrEnum):
    """What a stretch of time was spent on."""

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
    """A phase of ours that the display does not show; times by our clock, in seconds since the epoch."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpan:
    """A stretch of time (our clock, seconds since the epoch); ``critical`` if the end of the build waited for it."""

    begin: float
    end: float
    kind: SpanKind
    name: str = ""
    critical: bool = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """One step: ``runs`` do not overlap, ``parts`` lie inside of them, ``waits`` between or before them.

    ``steps`` is how many steps a folded row stands for.
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
        """When its first run began."""
        return self.runs[0].begin

    @property
    def end(self) -> float:
        """When its last run ended."""
        return max(run.end for run in self.runs)

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return sum(run.seconds for run in self.runs)

    @property
    def waited(self) -> float:
        """How long it waited for its turn although its inputs were there."""
        return sum(wait.seconds for wait in self.waits if wait.kind is SpanKind.QUEUE)

    @property
    def critical(self) -> bool:
        """Whether the end of the build waited for it."""
        return any(run.critical for run in self.runs)

    @property
    def kind(self) -> SpanKind:
        """What most of it is."""
        return max(self.runs, key=lambda run: run.seconds).kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole build: rows by section, our own first, as they began; ``begin`` and ``end`` of it all."""

    rows: tuple[TimelineRow, ...]
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.end - self.begin)

    @property
    def critical_seconds(self) -> float:
        """How long the steps took that the end waited for."""
        return sum(run.seconds for row in self.rows for run in row.runs if run.critical)

    def group_sections(self) -> list[tuple[str, list[TimelineRow]]]:
        """The rows under the names of their sections."""
        found: dict[str, list[TimelineRow]] = {}
        for row in self.rows:
            found.setdefault(row.section, []).append(row)
        return list(found.items())


def read_timeline(graph: StepGraph, *, now: float, laps: Iterable[PhaseLap] = ()) -> Timeline:
    """The state of a graph; what still runs ends ``now``."""
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
    """Its intervals by our clock, those that overlap as one: a group's members run side by side."""
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
    """A phase before everything that is displayed, or beside it; the end waited for the former."""
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
    """What of a step was spent on the wire; it ends with its step at the latest."""
    for status in step.statuses.values():
        match = _WIRE.match(status.id)
        if match and status.started is not None:
            begin = status.started + step.skew
            end = min(_find_end(status, step, now), step.finished_at if step.completed else now)
            kind = SpanKind.PUSH if match["push"] else SpanKind.TRANSFER
            yield TimeSpan(begin=begin, end=max(begin, end), kind=kind, name=strip_control_characters(status.id))


def _find_end(status: VertexStatus, step: BuildStep, now: float) -> float:
    """When a part ended; one that nobody closed has lasted until its last news, or still does."""
    end = status.completed
    if end is None:
        end = status.timestamp if step.completed else None
    return now if end is None else end + step.skew


def _list_waits(own: Sequence[StepRun], inputs: Sequence[StepRun]) -> Iterator[TimeSpan]:
    """The time before each run: first for what it builds on, then for a free slot of the daemon's.

    Before its first run nobody asked for it while its inputs ran, so that counts from their end.
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
    """Where each step belongs: to our phases, to a platform, or to what a node's platforms share."""

    def __init__(self, steps: Sequence[BuildStep]) -> None:
        self._platforms: dict[str, dict[str, None]] = {}
        for step in steps:
            if not step.ours and (match := _PREFIX.match(step.name)):
                self._platforms.setdefault(step.key[0], {})[match["platform"]] = None

    def find_section(self, step: BuildStep) -> str:
        """The heading of a step."""
        if step.ours:
            return OURS
        node = step.key[0]
        platforms = list(self._platforms.get(node, ()))
        if match := _PREFIX.match(step.name):
            return match["platform"]
        return platforms[0] if len(platforms) == 1 else node or SHARED

    def name(self, step: BuildStep) -> str:
        """Its name without what the heading says."""
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
