"""A build over time, as values: what ran where and when, what waited, and what the end waited for. Pure.

A step is what BuildKit calls a vertex. Times are those of its vertex, moved to our clock (:class:`~.step.Step`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import VertexStatus
from ci_buildx.progress import timeline_path
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.step import Step
from ci_buildx.progress.text import printable
from ci_buildx.progress.timeline_path import TOLERANCE, Run

OURS = "kube-builder"
"""The section of our own phases."""
SHARED = "build"
"""The section of steps that belong to no platform, where nothing says which node they ran on."""

_PREFIX = re.compile(r"\[(?P<platform>[a-z]+/[a-z0-9_]+(?:/[a-z0-9]+)?)(?P<end>[ \]])")
_WIRE = re.compile(r"(?P<push>pushing|writing|exporting cache)|transferring|sha256:[0-9a-f]+$|importing|sending")


class Kind(StrEnum):
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
class Lap:
    """A phase of ours that the display does not show; times by our clock, in seconds since the epoch."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time (our clock, seconds since the epoch); ``critical`` if the end of the build waited for it."""

    begin: float
    end: float
    kind: Kind
    name: str = ""
    critical: bool = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step: ``runs`` do not overlap, ``parts`` lie inside of them, ``waits`` between or before them.

    ``steps`` is how many steps a folded row stands for.
    """

    name: str
    section: str
    runs: tuple[Span, ...]
    parts: tuple[Span, ...] = ()
    waits: tuple[Span, ...] = ()
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
        return sum(wait.seconds for wait in self.waits if wait.kind is Kind.QUEUE)

    @property
    def critical(self) -> bool:
        """Whether the end of the build waited for it."""
        return any(run.critical for run in self.runs)

    @property
    def kind(self) -> Kind:
        """What most of it is."""
        return max(self.runs, key=lambda run: run.seconds).kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole build: rows by section, our own first, as they began; ``begin`` and ``end`` of it all."""

    rows: tuple[Row, ...]
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

    def sections(self) -> list[tuple[str, list[Row]]]:
        """The rows under the names of their sections."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.section, []).append(row)
        return list(found.items())


def read(graph: Graph, *, now: float, laps: Iterable[Lap] = ()) -> Timeline:
    """The state of a graph; what still runs ends ``now``."""
    steps = [step for step in graph.steps if not step.hidden]
    runs = {id(step): _runs(step, now) for step in steps}
    chain = {(id(run.step), run.begin, run.end) for run in timeline_path.critical(graph, runs)}
    places = _Places(steps)
    rows = [_lap(lap, first=min((runs[id(step)][0].begin for step in steps), default=lap.end)) for lap in laps]
    for step in steps:
        own = runs[id(step)]
        inputs = [run for one in graph.inputs(step) for run in runs.get(id(one), ())]
        rows.append(
            Row(
                name=places.name(step),
                section=places.section(step),
                runs=tuple(_span(step, run, (id(step), run.begin, run.end) in chain) for run in own),
                parts=tuple(_parts(step, now)),
                waits=tuple(_waits(own, inputs)),
                cached=step.cached,
                error=printable(step.error.partition("\n")[0]),
            )
        )
    rows.sort(key=lambda row: (row.section != OURS, row.section, row.begin, row.end))
    begin = min((row.begin for row in rows), default=now)
    return Timeline(rows=tuple(rows), begin=begin, end=max((row.end for row in rows), default=now))


def _runs(step: Step, now: float) -> list[Run]:
    """Its intervals by our clock, those that overlap as one: a group's members run side by side."""
    merged: list[Run] = []
    for start in sorted(step.intervals):
        end = step.intervals[start]
        begin = start + step.skew
        until = max(begin, now if end is None else end + step.skew)
        if merged and begin < merged[-1].end:
            merged[-1] = Run(step, merged[-1].begin, max(until, merged[-1].end))
        else:
            merged.append(Run(step, begin, until))
    return merged


def _lap(lap: Lap, *, first: float) -> Row:
    """A phase before everything that is displayed, or beside it; the end waited for the former."""
    span = Span(begin=lap.begin, end=lap.end, kind=Kind.PHASE, critical=lap.end <= first + TOLERANCE)
    return Row(name=lap.name, section=OURS, runs=(span,))


def _span(step: Step, run: Run, critical: bool) -> Span:
    return Span(begin=run.begin, end=run.end, kind=_kind(step), critical=critical)


def _kind(step: Step) -> Kind:
    if step.canceled:
        return Kind.CANCELED
    if step.failed:
        return Kind.FAILED
    if step.ours:
        return Kind.PHASE
    return Kind.CACHED if step.cached else Kind.RUN


def _parts(step: Step, now: float) -> Iterator[Span]:
    """What of a step was spent on the wire; it ends with its step at the latest."""
    for status in step.statuses.values():
        match = _WIRE.match(status.id)
        if match and status.started is not None:
            begin = status.started + step.skew
            end = min(_ended(status, step, now), step.finished_at if step.completed else now)
            kind = Kind.PUSH if match["push"] else Kind.TRANSFER
            yield Span(begin=begin, end=max(begin, end), kind=kind, name=printable(status.id))


def _ended(status: VertexStatus, step: Step, now: float) -> float:
    """When a part ended; one that nobody closed has lasted until its last news, or still does."""
    end = status.completed
    if end is None:
        end = status.timestamp if step.completed else None
    return now if end is None else end + step.skew


def _waits(own: Sequence[Run], inputs: Sequence[Run]) -> Iterator[Span]:
    """The time before each run: first for what it builds on, then for a free slot of the daemon's.

    Before its first run nobody asked for it while its inputs ran, so that counts from their end.
    """
    before: float | None = None
    for run in own:
        ended = [one.end for one in inputs if one.end <= run.begin + TOLERANCE]
        ready = min(run.begin, max(ended, default=run.begin if before is None else before))
        if before is not None and ready > before:
            yield Span(begin=before, end=ready, kind=Kind.INPUTS)
        ready = max(ready, before or ready)
        if run.begin > ready:
            yield Span(begin=ready, end=run.begin, kind=Kind.QUEUE)
        before = run.end


class _Places:
    """Where each step belongs: to our phases, to a platform, or to what a node's platforms share."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._platforms: dict[str, dict[str, None]] = {}
        for step in steps:
            if not step.ours and (match := _PREFIX.match(step.name)):
                self._platforms.setdefault(step.key[0], {})[match["platform"]] = None

    def section(self, step: Step) -> str:
        """The heading of a step."""
        if step.ours:
            return OURS
        node = step.key[0]
        platforms = list(self._platforms.get(node, ()))
        if match := _PREFIX.match(step.name):
            return match["platform"]
        return platforms[0] if len(platforms) == 1 else node or SHARED

    def name(self, step: Step) -> str:
        """Its name without what the heading says."""
        name = printable(step.name)
        if match := _PREFIX.match(name):
            rest = name[match.end() :]
            return f"[{rest}" if match["end"] == " " else rest.strip()
        if step.ours:
            return name.removeprefix("[internal] ")
        node = step.key[0]
        if node and name.startswith(f"[{node}] "):
            return name[len(node) + 3 :]
        return f"[{name[len(node) + 2 :]}" if node and name.startswith(f"[{node} ") else name
