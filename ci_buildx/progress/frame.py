"""Composes a frame of the live display: lines that fit a terminal. Pure.

The layout is that of BuildKit 0.34.2 (``util/progress/progressui/display.go``: ``ttyDisplay.print``).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from unicodedata import combining, east_asian_width

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import VertexStatus
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.step import BuildStep, format_transfer, strip_control_characters

_LEAST_NAME = 12
_LEAST_WITH_AMOUNT = 20
_SHORTEST = 0.05
_WINDOW_MARGIN = 3


class LineTone(Enum):
    """The tone of a line, which selects its colour."""

    PLAIN = auto()
    DONE = auto()
    FAILED = auto()
    CANCELED = auto()
    WARNING = auto()
    OUTPUT = auto()


@dataclass(frozen=True, slots=True)
class FrameLine:
    """A line of the frame, at most as wide as the canvas."""

    text: str
    tone: LineTone = LineTone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCanvas:
    """The available space: ``width`` in columns, ``height`` in rows (0: unlimited), ``window``: output rows a step."""

    width: int
    height: int
    window: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeading:
    """The first line: elapsed seconds, whether the build is over, and the builder's name ("" if it is not shown)."""

    elapsed: float
    builder: str = ""
    finished: bool = False


@dataclass(frozen=True, slots=True)
class _FrameRow:
    """A line for a step or a part of a step, before it is fitted to the width."""

    name: str
    amount: str
    seconds: float
    tone: LineTone
    running: bool
    step: BuildStep | None = None


def compose_frame(graph: StepGraph, canvas: FrameCanvas, heading: FrameHeading, *, now: float) -> list[FrameLine]:
    """Return the frame: heading, steps with their parts, and the latest output of running steps if it fits."""
    rows = [row for step in graph.steps if not step.hidden for row in _compose_rows(step, now)]
    windows = _compose_windows(rows, canvas)
    if canvas.height:
        rows = _select_rows(rows, canvas.height - 2 - sum(len(output) for output in windows.values()))
    lines = [FrameLine(_compose_heading(graph, heading, canvas.width))]
    for row in rows:
        if (text := _format_row(row, canvas.width)) is None:
            continue
        lines.append(FrameLine(text, row.tone))
        output = windows.get(row.step, []) if row.step else []
        lines += (FrameLine(clip_text(f" => => # {text}", canvas.width), LineTone.OUTPUT) for text in output)
    return lines


def count_columns(text: str) -> int:
    """Return the number of terminal columns of ``text``."""
    return len(text) if text.isascii() else sum(_measure_character(character) for character in text)


def clip_text(text: str, width: int) -> str:
    """Return the longest prefix of ``text`` that fits ``width`` columns."""
    if count_columns(text) <= width:
        return text
    taken, end = 0, 0
    for end, character in enumerate(text):  # noqa: B007 - the index is the result
        taken += _measure_character(character)
        if taken > width:
            break
    return text[:end]


def _measure_character(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _compose_heading(graph: StepGraph, heading: FrameHeading, width: int) -> str:
    done, total = graph.completed, graph.total
    word = " FINISHED" if heading.finished and done == total and total else ""
    left = f"[+] Building {heading.elapsed:.1f}s ({done}/{total}){word}"
    right = f"kubernetes:{heading.builder}" if heading.builder else ""
    if right and len(left) + 1 + len(right) <= width:
        return _align(left, right, width)
    return clip_text(left, width)


def _compose_rows(step: BuildStep, now: float) -> Iterator[_FrameRow]:
    running, seconds = not step.completed, step.compute_duration(now)
    label = "CACHED " if step.cached else ""
    tone = LineTone.PLAIN if running else LineTone.DONE
    if step.canceled:
        label, tone = "CANCELED ", LineTone.CANCELED
    elif step.failed:
        label, tone = "ERROR ", LineTone.FAILED
    yield _FrameRow(label + strip_control_characters(step.name), "", seconds, tone, running, step)
    for status in step.statuses.values():
        if status.started is not None:
            yield _compose_part(step, status, now)
    for warning in step.warnings:
        yield _FrameRow(
            f"WARN: {strip_control_characters(warning.short)}", "", seconds, LineTone.WARNING, running=False
        )


def _compose_part(step: BuildStep, status: VertexStatus, now: float) -> _FrameRow:
    """Return the row for a part of a step; it ends with its step at the latest."""
    running = status.completed is None and not step.completed
    end = status.completed if status.completed is not None else status.timestamp
    end = now - step.skew if running or end is None else end
    seconds = max(0.0, end - (status.started or 0.0))
    amount = format_transfer(status.current, status.total)
    return _FrameRow(
        f"=> {strip_control_characters(status.id)}",
        amount,
        seconds,
        LineTone.PLAIN if running else LineTone.DONE,
        running,
    )


def _compose_windows(rows: list[_FrameRow], canvas: FrameCanvas) -> dict[BuildStep, list[str]]:
    """Return the last lines of output of the most verbose steps, as long as each running row keeps its place."""
    talking = [row.step for row in rows if row.running and row.step and row.step.log_bytes]
    talking.sort(key=lambda step: -step.log_bytes)
    free = canvas.height - 2 - sum(row.running for row in rows)
    windows: dict[BuildStep, list[str]] = {}
    for step in talking:
        if free <= canvas.window + _WINDOW_MARGIN:
            break
        windows[step] = _read_last_output(step, canvas.window)
        free -= canvas.window + _WINDOW_MARGIN
    return windows


def _read_last_output(step: BuildStep, limit: int) -> list[str]:
    """Return the last ``limit`` non-blank lines, including the incomplete one."""
    found = (
        [strip_control_characters(step.partial.rpartition(b"\r")[2].decode("utf-8", "replace"))] if step.partial else []
    )
    for line in reversed(step.lines):
        if len(found) >= limit:
            break
        found.append(strip_control_characters(line.text))
    return [text for text in reversed(found) if text.strip()]


def _select_rows(rows: list[_FrameRow], limit: int) -> list[_FrameRow]:
    """Return at most ``limit`` rows in order, so that running steps stay visible as long as possible.

    Rows of completed steps and parts are dropped first, then running parts, then running steps, the earliest of each
    kind first.
    """
    limit = max(limit, 0)
    surplus = len(rows) - limit
    for is_dropped in (_is_completed, _is_running_part, _is_running):
        kept = []
        for row in rows:
            if surplus > 0 and is_dropped(row):
                surplus -= 1
            else:
                kept.append(row)
        rows = kept
    return rows


def _is_completed(row: _FrameRow) -> bool:
    return not row.running


def _is_running_part(row: _FrameRow) -> bool:
    return row.running and row.step is None


def _is_running(row: _FrameRow) -> bool:
    return row.running


def _format_row(row: _FrameRow, width: int) -> str | None:
    """Return the row with its time at the right edge; None if the terminal is too narrow."""
    seconds = row.seconds if row.seconds >= _SHORTEST else 0.0
    timer = f" {seconds:.1f}s"
    left = width - len(" => ") - len(timer)
    amount = ""
    if row.amount and left - len(row.amount) > _LEAST_WITH_AMOUNT:
        amount = f" {row.amount}"
    if left - len(amount) < _LEAST_NAME:
        return None
    return _align(f" => {clip_text(row.name, left - len(amount))}{amount}", timer, width)


def _align(left: str, right: str, width: int) -> str:
    return left + " " * (width - count_columns(left) - len(right)) + right
