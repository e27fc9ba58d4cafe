"""Progress as lines of text for a log: numbered steps, one of the running ones in front at a time.

Which step is in front, and when that changes, follows BuildKit 0.34.2 (``util/progress/progressui/printer.go``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ci_buildx.model.status import VertexStatus, VertexWarning
from ci_buildx.progress import closing
from ci_buildx.progress.graph import Change, Graph
from ci_buildx.progress.renderer import Update
from ci_buildx.progress.step import LogLine, Step
from ci_buildx.progress.text import transferred

_PERIOD = 0.15
_LEAST_TIME = 0.1
_LONGEST_WAIT = 10.0
_FAIR_SHARE = 5.0
_STATUS_TIME = 5.0
_STATUS_SHARE = 0.05
_FAILURE_LINES = 10
_SHORT_NAME = 72


@dataclass(slots=True, eq=False)
class _Track:
    """How far a step has been printed, and what waits to be."""

    step: Step
    number: int = 0
    waiting_since: float = 0.0
    events: int = 0
    statuses: dict[str, None] = field(default_factory=dict)
    printed: dict[str, VertexStatus] = field(default_factory=dict)
    lines: list[LogLine] = field(default_factory=list)
    warnings: list[VertexWarning] = field(default_factory=list)

    def add(self, change: Change, now: float) -> None:
        if self.events == 0:
            self.waiting_since = now
        self.events += change.events
        self.statuses |= change.statuses
        self.lines += change.lines
        self.warnings += change.warnings


class Plain:
    """Writes steps through ``write``; ``truncate`` shortens their names."""

    period: float | None = _PERIOD

    def __init__(self, write: Callable[[str], None], *, description: str = "", truncate: bool = False) -> None:
        self._write = write
        self._description = description
        self._truncate = truncate
        self._tracks: dict[Step, _Track] = {}
        self._dirty: dict[Step, _Track] = {}
        self._current: _Track | None = None
        self._numbers = 0
        self._out: list[str] = []
        self._printed_at = float("-inf")

    def take(self, update: Update) -> None:
        """Note what changed; write it unless something was written just now, so that bursts come out in order."""
        self._note(update.changes, update.now)
        if update.now - self._printed_at >= _LEAST_TIME:
            self.refresh(update.now)

    def refresh(self, now: float) -> None:
        """Write steps that have ended, then the one in front."""
        self._printed_at = now
        shown = [track for track in self._dirty.values() if not track.step.hidden]
        ended = [track for track in shown if track.step.completed]
        running = [track for track in shown if not track.step.completed]
        front = self._current
        for track in sorted(ended, key=lambda track: (track is not front, track.step.finished_at)):
            self._print(track)
        self._print_running(running, front, now)
        self._flush()

    def warn(self, text: str) -> None:
        """A line of its own between the steps."""
        self._leave()
        self._out.append(f"WARNING: {text}")
        self._flush()

    def close(self, graph: Graph, now: float, *, excerpt: str) -> None:
        """Write what still waits, of interrupted steps too, and what explains a failure."""
        self._note(graph.flush(), now)
        self.refresh(now)
        for track in list(self._dirty.values()):
            if track.lines and not track.step.hidden:
                self._print(track)
        self._out += closing.lines(graph, limit=_FAILURE_LINES, excerpt=excerpt)
        self._flush()

    def _note(self, changes: Iterable[Change], now: float) -> None:
        for change in changes:
            track = self._tracks.setdefault(change.step, _Track(change.step))
            track.add(change, now)
            self._dirty[change.step] = track

    def _print_running(self, running: list[_Track], front: _Track | None, now: float) -> None:
        if not running:
            if self._current is None:
                self._show_any()
            return
        if self._current in running:
            self._print(self._current)
        chosen = _choose(running, self._current, now)
        if chosen is not None and (chosen is not self._current or front is not self._current):
            self._print(chosen)

    def _show_any(self) -> None:
        """Nothing new: put a running step in front, so that the log says what is waited for."""
        open_steps = (track for track in self._tracks.values() if track.step.started and not track.step.completed)
        track = next((track for track in open_steps if not track.step.hidden), None)
        if track is not None:
            self._print(track)

    def _print(self, track: _Track) -> None:
        self._enter(track)
        self._out += (f"#{track.number} {_written(line, track.step)}" for line in self._due_statuses(track))
        self._out += (f"#{track.number} WARN: {warning.short}" for warning in track.warnings)
        self._out += (f"#{track.number} {line}" for line in track.lines)
        track.lines, track.warnings, track.statuses = [], [], {}
        self._dirty.pop(track.step, None)
        if track.step.completed:
            self._out.append(f"#{track.number} {_ending(track.step)}")
            self._current, track.events = None, 0

    def _enter(self, track: _Track) -> None:
        if track.number == 0:
            self._numbers += 1
            track.number = self._numbers
        if track is self._current:
            return
        self._leave()
        if self._numbers == 1 and track.events and not self._out and self._printed_first(track):
            return
        self._current = track

    def _leave(self) -> None:
        if self._current is not None:
            self._out.append(f"#{self._current.number} ...")
            self._current.events = 0
            self._current = None

    def _flush(self) -> None:
        if self._out:
            self._write("".join(f"{line}\n" for line in self._out))
            self._out = []
