"""Reduces the status streams of all nodes to steps. Does no I/O and has no clock: each update carries the time.

The rules are those of BuildKit 0.34.2 (``util/progress/progressui/display.go``: ``trace.update``, ``vertexGroup``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.step import (
    CANCELED,
    KEPT_LINES,
    LONGEST_LINE,
    PHASE_DIGEST,
    BuildStep,
    Key,
    StepLogLine,
    apply_carriage_returns,
    format_stamp,
)

MOST_STEPS = 16_384
"""Maximum number of steps of a build, counting each member of a group."""
MOST_PARTS = 1 << 17
"""Maximum number of runs, inputs and progress lines of all steps."""
MOST_TEXT = 16 << 20
"""Maximum total characters of names and errors; beyond that each is cut to SHORT."""
SHORT = 200
MOST_OUTPUT = 64 << 20
"""Maximum characters of kept output; beyond that, the step whose output is oldest loses its first lines."""
MOST_PARTIAL = 4 << 20
"""Maximum bytes of unfinished lines of all steps; beyond that they are treated as complete."""
LONGEST_ID = 1000
"""Maximum characters of the ID of a step or a progress line."""
MOST_WARNINGS = 1000
MOST_WARNED = 16 << 20
"""Maximum bytes of warnings, including the files they refer to."""


@dataclass(slots=True, eq=False)
class StepChange:
    """The changes of one update to a step; ``statuses`` holds the IDs of changed progress lines."""

    step: BuildStep
    statuses: dict[str, None] = field(default_factory=dict)
    lines: list[StepLogLine] = field(default_factory=list)
    warnings: list[VertexWarning] = field(default_factory=list)
    events: int = 0


@dataclass(slots=True, eq=False)
class _VertexGroup:
    step: BuildStep
    members: dict[str, Vertex] = field(default_factory=dict)


class StepGraph:
    """All steps of one build.

    ``steps`` are those that have started, in order; ``warnings`` are without duplicates; ``forgiven`` are failed steps
    that were retried; ``omitted`` counts items that were dropped because of the limits.
    """

    def __init__(self) -> None:
        self.omitted = 0
        self._parts = 0
        self._text = 0
        self._warned = 0
        self._warnings = 0
        self._kept: dict[Key, int] = {}
        self._output = 0
        self._partial = 0
        self.steps: list[BuildStep] = []
        self.warnings: list[VertexWarning] = []
        self.forgiven: set[Key] = set()
        self._by_key: dict[Key, BuildStep] = {}
        self._groups: dict[Key, _VertexGroup] = {}
        self._skew: dict[str, float] = {}

    @property
    def total(self) -> int:
        """Number of known steps."""
        return sum(not step.hidden for step in self._list_steps())

    @property
    def completed(self) -> int:
        """Number of completed steps."""
        return sum(step.completed and not step.hidden for step in self._list_steps())

    def list_inputs(self, step: BuildStep) -> list[BuildStep]:
        """Return the known steps that ``step`` depends on; a group counts once."""
        found = (self._by_key.get((step.key[0], digest)) for digest in step.inputs)
        return list({id(one): one for one in found if one is not None and one is not step}.values())

    def update(self, status: StatusUpdate, *, node: str, now: float) -> list[StepChange]:
        """Process a message of a node's status stream and return the changes, in a stable order."""
        self._note_clock(status, node, now)
        changes: dict[Key, StepChange] = {}
        touched: dict[Key, _VertexGroup] = {}
        for vertex in status.vertexes:
            if not self._has_room(vertex, node):
                self.omitted += 1
            elif vertex.group:
                key = (node, vertex.group.id)
                touched[key] = self._join(key, vertex, vertex.group)
            elif self._take(self._find_step((node, vertex.digest)), vertex):
                self._make_change((node, vertex.digest), changes)
        for key, group in touched.items():
            if self._refresh(group):
                self._make_change(key, changes)
        for line in status.statuses:
            self._apply_progress((node, line.vertex), line, changes)
        for warning in status.warnings:
            self._apply_warning((node, warning.vertex), warning, changes)
        for log in status.logs:
            self._log((node, log.vertex), log, changes)
        for change in changes.values():
            if change.step.completed:
                change.lines += self._end_line(change.step)
        return list(changes.values())

    def restart(self, node: str, now: float) -> list[StepChange]:
        """Forget a node's steps, with their findings, because its build begins again; return those that were running.

        They are canceled first. Our own phases stay, and so does the accounting of the limits.
        """
        changes = self._cancel_steps([step for step in self.steps if step.key[0] == node and not step.ours], now)
        for key in [key for key, step in self._by_key.items() if key[0] == node and not step.ours]:
            self._output -= self._kept.pop(key, 0)
            del self._by_key[key]
        self._groups = {key: group for key, group in self._groups.items() if key[0] != node}
        self._skew.pop(node, None)
        self.forgiven = {key for key in self.forgiven if key[0] != node}
        self.steps = [step for step in self.steps if step.key[0] != node or step.ours]
        self.warnings = []
        for warning in (one for step in self.steps for one in step.warnings):
            if not any(_is_same_finding(warning, known) for known in self.warnings):
                self.warnings.append(warning)
        return changes

    def cancel(self, now: float) -> list[StepChange]:
        """Mark all running steps as canceled, without waiting for the daemon to report it."""
        return self._cancel_steps(self.steps, now)

    def _cancel_steps(self, steps: Sequence[BuildStep], now: float) -> list[StepChange]:
        running = [step for step in steps if step.started and not step.completed]
        for step in running:
            step.error = CANCELED
            for start, end in step.intervals.items():
                step.intervals[start] = now - step.skew if end is None else end
        return [StepChange(step, lines=self._end_line(step), events=1) for step in running]

    def forgive(self, node: str) -> None:
        """Leave failures of a node's steps so far out of the final report."""
        self.forgiven.update(step.key for step in self.steps if step.failed and step.key[0] == node)

    def flush(self) -> list[StepChange]:
        """Treat incomplete lines of output as complete, because nothing more will arrive."""
        return [StepChange(step, lines=lines, events=1) for step in self.steps if (lines := self._end_line(step))]

    def _list_steps(self) -> Iterator[BuildStep]:
        """Return each step once; the members of a group map to the same one."""
        return iter({id(step): step for step in self._by_key.values()}.values())

    def _note_clock(self, status: StatusUpdate, node: str, now: float) -> None:
        """Update the estimated skew of a node's clock: the smallest difference between now and a reported time.

        A reported time cannot be in the future. Our own phases use our clock, even if a node without a name shares its
        key with them.
        """
        if any(_is_own(vertex.digest) for vertex in status.vertexes) or any(_is_own(log.vertex) for log in status.logs):
            return
        times = [time for vertex in status.vertexes for time in (vertex.started, vertex.completed)]
        times += [entry.timestamp for entry in status.statuses]
        times += [log.timestamp for log in status.logs]
        newest = max((time for time in times if time is not None), default=None)
        if newest is None:
            return
        skew = min(self._skew.get(node, float("inf")), now - newest)
        if skew != self._skew.get(node):
            self._skew[node] = skew
            for key, step in self._by_key.items():
                if key[0] == node and not step.ours:
                    step.skew = skew

    def _has_room(self, vertex: Vertex, node: str) -> bool:
        """Return whether a vertex fits the limits; vertexes that are already known may always be updated."""
        keys = [(node, vertex.digest), *([(node, vertex.group.id)] if vertex.group else [])]
        step, group = self._by_key.get(keys[0]), self._groups.get(keys[-1])
        member = group.members.get(vertex.digest) if group is not None else None
        known = member.inputs if member is not None else step.inputs if step is not None else ()
        before = self._parts
        if len(vertex.inputs) > len(known) or known != vertex.inputs:
            self._parts += sum(1 + len(digest) // SHORT for digest in vertex.inputs)
        if step is not None and vertex.started is not None and vertex.started not in step.intervals:
            self._parts += 1
        added = sum(key not in self._by_key for key in keys)
        is_short = all(len(key[1]) <= LONGEST_ID for key in keys)
        if not added and self._parts == before:  # such as the end of a step that is shown
            return is_short
        return is_short and len(self._by_key) + added <= MOST_STEPS and self._parts <= MOST_PARTS

    def _fit(self, text: str, before: str) -> str:
        """Return the text, shortened if the limit is exhausted; it replaces ``before`` in the accounting."""
        room = max(SHORT, MOST_TEXT - self._text + len(before))
        fitting = text if len(text) <= room else f"{text[: room - 1]}…"
        self._text += len(fitting) - len(before)
        return fitting

    def _describe(self, step: BuildStep, vertex: Vertex) -> None:
        step.name, step.error = self._fit(vertex.name, step.name), self._fit(vertex.error, step.error)
        step.cached, step.inputs = vertex.cached, vertex.inputs

    def _keep(self, step: BuildStep, lines: list[StepLogLine]) -> None:
        """Store lines of output, within the limits for one step and for all steps."""
        lines = lines[-KEPT_LINES:]
        lost = islice(step.lines, max(0, len(step.lines) + len(lines) - KEPT_LINES))
        size = sum(len(line.text) for line in lines) - sum(len(line.text) for line in lost)
        step.lines.extend(lines)
        self._output += size
        self._kept[step.key] = self._kept.get(step.key, 0) + size
        while self._output > MOST_OUTPUT:
            oldest = next(iter(self._kept))
            kept = self._by_key[oldest].lines
            size = len(kept.popleft().text) if kept else self._kept[oldest]
            self._output -= size
            self._kept[oldest] -= size
            if not kept:
                del self._kept[oldest]

    def _find_step(self, key: Key) -> BuildStep:
        step = self._by_key.get(key)
        if step is None:
            skew = 0.0 if _is_own(key[1]) else self._skew.get(key[0], 0.0)
            step = self._by_key[key] = BuildStep(key, skew=skew)
        return step

    def _make_change(self, key: Key, changes: dict[Key, StepChange]) -> StepChange:
        step = self._by_key[key]
        change = changes.setdefault(step.key, StepChange(step))
        change.events += 1
        return change

    def _take(self, step: BuildStep, vertex: Vertex) -> bool:
        """Apply a vertex; return whether that is visible. A repeated announcement does not undo a start."""
        if vertex.started is None:
            if not step.started:
                self._describe(step, vertex)
            return False
        before = (step.name, step.cached, step.error, step.intervals.get(vertex.started, ""))
        if not step.started:
            self.steps.append(step)
        self._describe(step, vertex)
        step.intervals[vertex.started] = vertex.completed
        return before != (step.name, step.cached, step.error, vertex.completed)

    def _join(self, key: Key, vertex: Vertex, shown_as: ProgressGroup) -> _VertexGroup:
        group = self._groups.get(key)
        if group is None:
            step = self._find_step(key)
            step.name, step.hidden = self._fit(shown_as.name, step.name), True
            group = self._groups[key] = _VertexGroup(step)
        before = group.members.get(vertex.digest)
        error = self._fit(vertex.error, before.error if before is not None else "")
        group.members[vertex.digest] = replace(vertex, name="", error=error)
        self._by_key[key[0], vertex.digest] = group.step
        return group

    def _refresh(self, group: _VertexGroup) -> bool:
        """Update a group's step from its members; return whether that is visible.

        A group is cached if all its members are, fails with the first error, and is hidden while only weak members ran.
        """
        step, members = group.step, group.members.values()
        before = (step.cached, step.error, step.hidden, dict(step.intervals))
        step.cached = all(member.cached for member in members)
        step.error = next((member.error for member in members if member.error), "")
        step.intervals = _merge_intervals(group)
        step.inputs = tuple(digest for member in members for digest in member.inputs if digest not in group.members)
        strong = any(member.started is not None and member.group and not member.group.weak for member in members)
        step.hidden = step.hidden and not strong and not step.error
        if step.hidden:
            return False
        if before[2] and step not in self.steps:
            self.steps.append(step)
        return before != (step.cached, step.error, step.hidden, step.intervals)

    def _apply_progress(self, key: Key, line: VertexStatus, changes: dict[Key, StepChange]) -> None:
        if step := self._by_key.get(key):
            if line.id not in step.statuses:
                self._parts += 1 + len(line.id) // SHORT
            if self._parts > MOST_PARTS or max(len(line.id), len(line.name)) > LONGEST_ID:
                self.omitted += 1
                return
            step.statuses[line.id] = line
            self._make_change(key, changes).statuses[line.id] = None

    def _apply_warning(self, key: Key, warning: VertexWarning, changes: dict[Key, StepChange]) -> None:
        self._warnings += 1
        self._warned += _measure(warning)
        if self._warnings > MOST_WARNINGS or self._warned > MOST_WARNED:
            self.omitted += 1
            return
        if not any(_is_same_finding(warning, known) for known in self.warnings):
            self.warnings.append(warning)
        if step := self._by_key.get(key):
            step.warnings.append(warning)
            self._make_change(key, changes).warnings.append(warning)

    def _log(self, key: Key, log: VertexLog, changes: dict[Key, StepChange]) -> None:
        step = self._by_key.get(key)
        if step is None:
            return
        step.log_bytes += len(log.data)
        self._partial -= len(step.partial)
        lines = list(_complete_lines(step, log))
        self._partial += len(step.partial)
        self._keep(step, lines)
        if self._partial > MOST_PARTIAL:
            lines += self._end_line(step)
        self._make_change(key, changes).lines.extend(lines)

    def _end_line(self, step: BuildStep) -> list[StepLogLine]:
        if not step.partial:
            return []
        self._partial -= len(step.partial)
        line = StepLogLine(step.partial_stamp, _decode_line(step.partial))
        step.partial = b""
        self._keep(step, [line])
        return [line]


def _is_own(digest: str) -> bool:
    return digest.startswith(PHASE_DIGEST)


def _merge_intervals(group: _VertexGroup) -> dict[float, float | None]:
    """Return the runs of the members; of two that started together the longer one counts."""
    intervals: dict[float, float | None] = {}
    for member in group.members.values():
        if member.started is None:
            continue
        end = member.completed
        if member.started in intervals:
            other = intervals[member.started]
            end = None if end is None or other is None else max(end, other)
        intervals[member.started] = end
    return intervals


def _complete_lines(step: BuildStep, log: VertexLog) -> Iterator[StepLogLine]:
    """Yield the lines that this piece of output completes; the rest is kept in the step, up to a limit."""
    now = format_stamp(step.compute_offset(log.timestamp))
    *ended, rest = log.data.split(b"\n")
    for piece in ended:
        begun = step.partial_stamp if step.partial else now
        yield StepLogLine(begun, _decode_line(step.partial + piece))
        step.partial = b""
    if rest and not step.partial:
        step.partial_stamp = now
    step.partial += rest
    while len(step.partial) > LONGEST_LINE:
        yield StepLogLine(step.partial_stamp, _decode_line(step.partial[:LONGEST_LINE]))
        step.partial = step.partial[LONGEST_LINE:]


def _decode_line(line: bytes) -> str:
    return apply_carriage_returns(line.decode("utf-8", "replace"))


def _measure(warning: VertexWarning) -> int:
    texts = (warning.short, warning.url, warning.filename, warning.language, warning.source, *warning.detail)
    return sum(map(len, texts)) + 16 * (len(warning.detail) + len(warning.ranges))


def _is_same_finding(one: VertexWarning, other: VertexWarning) -> bool:
    """Return whether two findings are equal; nodes repeat them (buildx 0.38.2, ``util/progress/printer.go``)."""
    return replace(one, vertex="") == replace(other, vertex="")
