"""The plain log, and the closing report of all displays: output of failed steps, findings of build checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import VertexStatus, VertexWarning
from ci_buildx.progress.graph import StepChange, StepGraph
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet
from ci_buildx.progress.step import BuildStep, StepLogLine, drop_controls, format_transfer, strip_control_characters

_RULE = "------"


def format_closing(graph: StepGraph, *, limit: int, excerpt: str) -> Iterator[str]:
    """Yield the closing report, free of control characters, in buildx's order.

    ``limit`` is the maximum number of output lines for each failed step.
    """
    return map(drop_controls, _split_lines(graph, limit, excerpt))


def _split_lines(graph: StepGraph, limit: int, excerpt: str) -> Iterator[str]:
    for step in graph.steps:
        if step.failed and not step.hidden and not step.ours and step.key not in graph.forgiven:
            yield from format_failure(step, limit)
    yield from format_findings(graph.warnings)
    if graph.omitted:
        yield (
            f"buildkitd reported more than is stored: {graph.omitted} steps, "
            "lines of progress or warnings are not shown"
        )
    if excerpt:
        yield from excerpt.rstrip("\n").split("\n")


def format_failure(step: BuildStep, limit: int) -> Iterator[str]:
    """Yield a failed step and the end of its output, as BuildKit prints it (``progressui.trace.printErrorLogs``)."""
    yield _RULE
    yield f" > {step.name}:"
    for line in list(step.lines)[-limit:]:
        yield str(line)
    yield _RULE


def format_findings(warnings: Sequence[VertexWarning]) -> Iterator[str]:
    """Yield the findings of build checks with location and explanation (buildx hides these without ``--debug``)."""
    if not warnings:
        return
    yield ""
    yield f" {len(warnings)} warning{'s' if len(warnings) > 1 else ''} found:"
    for warning in warnings:
        yield f" - {_format_place(warning)}"
        for detail in warning.detail:
            yield f"   {detail}"
        if warning.url:
            yield f"   More info: {warning.url}"
    yield ""


def _format_place(warning: VertexWarning) -> str:
    """Return a finding with its location in front, which BuildKit 0.34.2 also appends (``linter.LintFormatShort``)."""
    if not (warning.filename and warning.line):
        return warning.short
    return f"{warning.filename}:{warning.line}: {warning.short.removesuffix(f' (line {warning.line})')}"


_PERIOD = 0.15
_LEAST_TIME = 0.1
SILENCE = 1.0
"""Seconds without any line after which a running step is shown although it has printed nothing."""
_HOLD = 2.0
"""Seconds for which ended steps wait for the one in the foreground while that one prints."""
_SETTLE = 0.5
"""Seconds after which the end of a step counts: BuildKit ends a context or an image once before it transfers it."""
_LONGEST_WAIT = 10.0
_FAIR_SHARE = 5.0
_STATUS_TIME = 5.0
_STATUS_SHARE = 0.05
_FAILURE_LINES = 10
_SHORT_NAME = 72


@dataclass(slots=True, eq=False)
class StepTrack:
    """A step's printed state and its pending output."""

    step: BuildStep
    number: int = 0
    waiting_since: float = 0.0
    noted_at: float = 0.0
    events: int = 0
    statuses: dict[str, None] = field(default_factory=dict)
    opened: dict[str, float] = field(default_factory=dict)
    printed: dict[str, VertexStatus] = field(default_factory=dict)
    lines: list[StepLogLine] = field(default_factory=list)
    warnings: list[VertexWarning] = field(default_factory=list)

    def add(self, change: StepChange, now: float) -> None:
        """Record what is to be printed."""
        self.noted_at = now
        if self.events == 0:
            self.waiting_since = now
        self.events += change.events
        self.statuses |= change.statuses
        self.opened = dict.fromkeys(change.statuses, now) | self.opened
        self.lines += change.lines
        self.warnings += change.warnings

    def has_settled(self, now: float) -> bool:
        """Return whether the end of the step counts: it is old, or of a kind that BuildKit does not take back."""
        return now - self.noted_at >= _SETTLE or bool(self.step.ours or self.step.error or self.lines)

    def is_due(self, status: VertexStatus, now: float) -> bool:
        """Return whether a progress line differs enough from the one printed last; the first has an amount or lasts."""
        last = self.printed.get(status.id)
        if status.completed is not None:
            return True
        if last is None:
            return bool(status.current or status.total) or now - self.opened.get(status.id, now) >= SILENCE
        share = (status.current - last.current) / status.total if status.total > 0 else 0.0
        elapsed = (status.timestamp or 0.0) - (last.timestamp or 0.0)
        return share >= _STATUS_SHARE or elapsed >= _STATUS_TIME


BUILDING = '#0 building with "{builder}" instance using kubernetes driver'
CONNECTING = "#0 builder: {builder}"
"""First lines of docker buildx that scripts look for: that of a build, and of a connection for other programs."""
MOST_WAITING = 16 << 20
"""Maximum characters of pending output of background steps; beyond that it is written at once."""


class PlainLog:
    """Writes steps to ``outlet``, one at a time in the foreground; ``truncate`` shortens their names.

    ``heading`` is a line before all others, as BuildKit has it (0.34.2, ``progressui/printer.go``); "" for none.
    """

    period: float | None = _PERIOD

    def __init__(self, outlet: TextOutlet, *, truncate: bool = False, heading: str = "") -> None:
        self._outlet = outlet
        self._heading = [heading, ""] if heading else []
        self._truncate = truncate
        self._tracks: dict[BuildStep, StepTrack] = {}
        self._dirty: dict[BuildStep, StepTrack] = {}
        self._current: StepTrack | None = None
        self._numbers = 0
        self._begun = self._after_ours = False
        self._out: list[str] = []
        self._printed_at = float("-inf")
        self._wrote_at = float("-inf")
        self._held_since: float | None = None
        self._closing = False
        self._waiting = 0

    def take(self, update: RendererUpdate) -> None:
        """Record changes; write them unless something was just written, so that bursts come out in order."""
        self._note(update.changes, update.now)
        if self._waiting > MOST_WAITING:
            self._print_rest()
            self._flush()
        if update.now - self._printed_at >= _LEAST_TIME:
            self.refresh(update.now)

    def refresh(self, now: float) -> None:
        """Write completed steps, then the one in the foreground."""
        self._printed_at = now
        shown = [track for track in self._dirty.values() if not track.step.hidden]
        running = [track for track in shown if not track.step.completed]
        ended = self._select_settled([track for track in shown if track.step.completed], running, now)
        front = self._current
        if not self._is_held(ended, running, now):
            for track in sorted(ended, key=lambda track: (track is not front, track.step.finished_at)):
                self._print(track)
        self._print_running(running, now)
        if self._out:
            self._wrote_at = now
        self._flush()

    def warn(self, text: str) -> None:
        """Write a warning on its own line between the steps."""
        self._leave()
        self._after_ours = False
        self._out.append(f"WARNING: {drop_controls(text)}")
        self._flush()

    def close(self, graph: StepGraph, now: float, *, excerpt: str) -> None:
        """Write all pending output, also of interrupted steps, and the closing report."""
        self._closing = True
        self._note(graph.flush(), now)
        self.refresh(now)
        self._print_rest()
        self._out += format_closing(graph, limit=_FAILURE_LINES, excerpt=excerpt)
        self._flush()

    def _print_rest(self) -> None:
        for track in list(self._dirty.values()):
            if track.lines and not track.step.hidden:
                self._print(track)
            track.lines = []  # hidden steps are not shown
        self._waiting = 0

    def _note(self, changes: Iterable[StepChange], now: float) -> None:
        for change in changes:
            track = self._tracks.setdefault(change.step, StepTrack(change.step))
            track.add(change, now)
            self._dirty[change.step] = track
            self._waiting += sum(len(line.text) for line in change.lines)

    def _select_settled(self, ended: list[StepTrack], running: list[StepTrack], now: float) -> list[StepTrack]:
        """Return the ended steps to be written: those that may run again only later, unless another step prints."""
        others = any(track.lines or track.step.ours for track in running if track is not self._current)
        if self._closing or others or now - self._wrote_at >= SILENCE:
            return ended
        settled = [track for track in ended if track.has_settled(now) or track is self._current]
        last = max((track.step.finished_at for track in settled), default=float("-inf"))
        return [track for track in ended if track.step.finished_at <= last or track in settled]

    def _is_held(self, ended: list[StepTrack], running: list[StepTrack], now: float) -> bool:
        """Return whether ended steps wait: each would interrupt the foreground step, which prints right now."""
        if not ended or self._current is None or self._current not in running or self._current in ended:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since < _HOLD:
            return True
        self._held_since = None
        return False

    def _print_running(self, running: list[StepTrack], now: float) -> None:
        """Write the news of the foreground step, and of another one if it is that one's turn.

        Steps that print nothing get the foreground only in silence: most end soon, and then take fewer lines.
        """
        silent = now - self._wrote_at >= SILENCE and not self._out
        if not running:
            if self._current is None and silent:
                self._show_any()
            return
        if self._current in running:
            self._print(self._current)
        running = [track for track in running if silent or track.step.ours or track.lines or track.warnings]
        if not running:
            return
        candidates = running if self._current is None else [*running, self._current]
        if (chosen := _choose_step(candidates, self._current, now)) is not None:
            self._print(chosen)

    def _show_any(self) -> None:
        """Show a running step if there is no news, so that the log tells what the build waits for."""
        open_steps = (track for track in self._tracks.values() if track.step.started and not track.step.completed)
        track = next((track for track in open_steps if not track.step.hidden), None)
        if track is not None:
            self._print(track)

    def _print(self, track: StepTrack) -> None:
        lines, ended = self._format_news(track)
        self._enter(track)
        self._number(track, lines)
        if ended:
            self._number(track, [format_ending(track.step)])
            self._current, track.events = None, 0

    def _format_news(self, track: StepTrack) -> tuple[list[str], bool]:
        """Return the pending lines of a step, marking them as printed, and whether the step is finished."""
        now = float("inf") if self._closing else self._printed_at
        due = [status for name in track.statuses if track.is_due(status := track.step.statuses[name], now)]
        lines = [_format_progress(status) for status in due]
        lines += (f"WARN: {warning.short}" for warning in track.warnings)
        lines += map(str, track.lines)
        self._waiting -= sum(len(line.text) for line in track.lines)
        track.printed |= {status.id: status for status in due}
        track.lines, track.warnings = [], []
        track.statuses = {name: None for name in track.statuses if self._is_unprinted(track, name)}
        if not track.statuses:
            self._dirty.pop(track.step, None)
        # The import of a remote cache reports progress outside any run of its step.
        return lines, track.step.completed and all(status.completed is not None for status in due)

    def _is_unprinted(self, track: StepTrack, name: str) -> bool:
        """Return whether a progress line that still runs was never written: it is as soon as it lasts."""
        return not (name in track.printed or track.step.completed)

    def _enter(self, track: StepTrack) -> None:
        if track is self._current:
            return
        self._leave()
        if self._begun and not (track.step.ours and self._after_ours):  # our phases follow each other
            self._out.append("")
        self._after_ours = track.step.ours
        self._number(track, [self._name(track)])
        self._current = track

    def _name(self, track: StepTrack) -> str:
        """Return a step's name, and number the step on first use."""
        self._begun = True
        if track.number == 0:
            self._numbers += 1
            track.number = self._numbers
        name = strip_control_characters(track.step.name)
        return f"{name[:_SHORT_NAME]}..." if self._truncate and len(name) > _SHORT_NAME else name

    def _leave(self) -> None:
        if self._current is not None:
            self._number(self._current, ["..."])
            self._current.events = 0
            self._current = None
            self._after_ours = False

    def _number(self, track: StepTrack, lines: Iterable[str]) -> None:
        head = f"#{track.number} "
        self._out += (head + drop_controls(line).replace("\n", f"\n{head}") for line in lines)

    def _flush(self) -> None:
        if self._out:
            self._outlet.write("".join(f"{line}\n" for line in (*self._heading, *self._out)))
            self._heading, self._out = [], []


def _choose_step(candidates: list[StepTrack], current: StepTrack | None, now: float) -> StepTrack | None:
    """Return the running step to put in the foreground, None to keep the current one.

    Verbose steps get the foreground, but each keeps it for a while, and none waits too long.
    """
    waited = {track: max(now - track.waiting_since, 0.001) for track in candidates}
    speeds = {track: track.events / waited[track] for track in candidates}
    late = [track for track in candidates if track is not current and waited[track] > _LONGEST_WAIT]
    busiest = late[-1] if late else max(candidates, key=lambda track: speeds[track])
    if current is None or late:
        return busiest
    others = sum(speeds.values()) - speeds[current]
    if others > 0 and _FAIR_SHARE * sum(speeds.values()) / others < waited[current]:
        return busiest
    return None


def _format_progress(status: VertexStatus) -> str:
    """Return a line such as ``transferring context: 2.10MB 0.3s done``."""
    parts = [strip_control_characters(status.id), format_transfer(status.current, status.total)]
    end = status.timestamp if status.completed is None else status.completed
    if status.started is not None and end is not None and end - status.started > 0.01:
        parts.append(f"{end - status.started:.1f}s")
    if status.completed is not None:
        parts.append("done")
    return " ".join(part for part in parts if part)


def format_ending(step: BuildStep) -> str:
    """Return how a step ended, as ``CANCELED``, ``ERROR: …``, ``CACHED`` or ``DONE 1.2s``."""
    if step.canceled:
        return "CANCELED"
    if step.error:
        return f"ERROR: {step.error}"
    return "CACHED" if step.cached else f"DONE {step.compute_duration(0.0):.1f}s"
