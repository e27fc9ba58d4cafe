"""What the live display shows at one moment: lines that fit a terminal. Pure.

The look is that of BuildKit 0.34.2 (``util/progress/progressui/display.go``: ``ttyDisplay.print``).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from unicodedata import combining, east_asian_width

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import VertexStatus
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.step import Step
from ci_buildx.progress.text import printable, transferred

_LEAST_NAME = 12
_LEAST_WITH_AMOUNT = 20
_SHORTEST = 0.05
_WINDOW_MARGIN = 3


class Tone(Enum):
    """How a line stands out."""

    PLAIN = auto()
    DONE = auto()
    FAILED = auto()
    CANCELED = auto()
    WARNING = auto()
    OUTPUT = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the frame, never wider than asked."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Where it must fit: ``width`` columns and ``height`` rows (0: any number); ``window``: rows of output a step."""

    width: int
    height: int
    window: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The first line: what runs since when, the builder's description on the right."""

    elapsed: float
    description: str = ""
    finished: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a step, or of a part of it, before it is fitted."""

    name: str
    amount: str
    seconds: float
    tone: Tone
    running: bool
    step: Step | None = None


def compose(graph: Graph, canvas: Canvas, heading: Heading, *, now: float) -> list[Line]:
    """The frame: heading, steps with their parts, the last output of running steps where there is room."""
    rows = [row for step in graph.steps if not step.hidden for row in _rows(step, now)]
    windows = _windows(rows, canvas)
    if canvas.height:
        rows = _fit(rows, canvas.height - 2 - sum(len(output) for output in windows.values()))
    lines = [Line(_heading(graph, heading, canvas.width))]
    for row in rows:
        if (text := _row_text(row, canvas.width)) is None:
            continue
        lines.append(Line(text, row.tone))
        output = windows.get(row.step, []) if row.step else []
        lines += (Line(clip(f" => => # {text}", canvas.width), Tone.OUTPUT) for text in output)
    return lines


def columns(text: str) -> int:
    """How many columns a terminal needs for a text."""
    return len(text) if text.isascii() else sum(_columns_of(character) for character in text)


def clip(text: str, width: int) -> str:
    """As much of a text as fits."""
    if columns(text) <= width:
        return text
    taken, end = 0, 0
    for end, character in enumerate(text):  # noqa: B007 - the index is the result
        taken += _columns_of(character)
        if taken > width:
            break
    return text[:end]


def _columns_of(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _heading(graph: Graph, heading: Heading, width: int) -> str:
    done, total = graph.completed, graph.total
    word = " FINISHED" if heading.finished and done == total and total else ""
    left = f"[+] Building {heading.elapsed:.1f}s ({done}/{total}){word}"
    fits = len(left) + 1 + len(heading.description) <= width
    return clip(_aligned(left, heading.description, width) if fits and heading.description else left, width)


def _rows(step: Step, now: float) -> Iterator[_Row]:
    running, seconds = not step.completed, step.duration(now)
    label = "CACHED " if step.cached else ""
    tone = Tone.PLAIN if running else Tone.DONE
    if step.canceled:
        label, tone = "CANCELED ", Tone.CANCELED
    elif step.failed:
        label, tone = "ERROR ", Tone.FAILED
    yield _Row(label + printable(step.name), "", seconds, tone, running, step)
    for status in step.statuses.values():
        if status.started is not None:
            yield _part(step, status, now)
    for warning in step.warnings:
        yield _Row(f"WARN: {printable(warning.short)}", "", seconds, Tone.WARNING, running=False)


def _part(step: Step, status: VertexStatus, now: float) -> _Row:
    """A line of progress inside a step; it ends with its step at the latest."""
    running = status.completed is None and not step.completed
    end = status.completed if status.completed is not None else status.timestamp
    end = now - step.skew if running or end is None else end
    seconds = max(0.0, end - (status.started or 0.0))
    amount = transferred(status.current, status.total)
    return _Row(f"=> {printable(status.id)}", amount, seconds, Tone.PLAIN if running else Tone.DONE, running)


def _windows(rows: list[_Row], canvas: Canvas) -> dict[Step, list[str]]:
    """The last lines of output of the steps that say most, as long as each running step keeps its own line."""
    talking = [row.step for row in rows if row.running and row.step and row.step.log_bytes]
    talking.sort(key=lambda step: -step.log_bytes)
    free = canvas.height - 2 - sum(row.running for row in rows)
    windows: dict[Step, list[str]] = {}
    for step in talking:
        if free <= canvas.window + _WINDOW_MARGIN:
            break
        windows[step] = _last_output(step, canvas.window)
        free -= canvas.window + _WINDOW_MARGIN
    return windows


def _last_output(step: Step, limit: int) -> list[str]:
    """The last lines that are not blank, the incomplete one included."""
    found = [printable(step.partial.rpartition(b"\r")[2].decode("utf-8", "replace"))] if step.partial else []
    for line in reversed(step.lines):
        if len(found) >= limit:
            break
        found.append(printable(line.text))
    return [text for text in reversed(found) if text.strip()]


def _fit(rows: list[_Row], limit: int) -> list[_Row]:
    """At most ``limit`` rows, in order: what runs first, then what ended last."""
    limit = max(limit, 0)
    surplus = len(rows) - limit
    if surplus <= 0:
        return rows
    kept = []
    for row in rows:
        if surplus > 0 and not row.running:
            surplus -= 1
        else:
            kept.append(row)
    return kept[-limit:] if limit else []


def _row_text(row: _Row, width: int) -> str | None:
    """The row with its time at the right edge; None where there is no room for anything."""
    seconds = row.seconds if row.seconds >= _SHORTEST else 0.0
    timer = f" {seconds:.1f}s"
    left = width - len(" => ") - len(timer)
    amount = ""
    if row.amount and left - len(row.amount) > _LEAST_WITH_AMOUNT:
        amount = f" {row.amount}"
    if left - len(amount) < _LEAST_NAME:
        return None
    return _aligned(f" => {clip(row.name, left - len(amount))}{amount}", timer, width)


def _aligned(left: str, right: str, width: int) -> str:
    return left + " " * (width - columns(left) - len(right)) + right
