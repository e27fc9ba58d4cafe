"""Progress on a terminal: a frame that is redrawn in place.

To avoid flicker, a frame is written at once, each line is overwritten before its rest is erased, and terminals with
synchronized output (mode 2026) are asked to show it at once. Colours, and ``NO_COLOR``, are handled by rich.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO

from ci_buildx.progress import plain
from ci_buildx.progress.frame import FrameCanvas, FrameHeading, FrameLine, LineTone, compose_frame, count_columns
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet
from ci_buildx.progress.step import KEPT_LINES, strip_control_characters

_PERIOD = 0.1
_SMALLEST = 20
_BEGIN, _END = "\x1b[?2026h\x1b[?25l", "\x1b[?2026l"
_SHOW_CURSOR = "\x1b[?25h"
_ERASE_REST, _ERASE_BELOW = "\x1b[K", "\x1b[J"
_STYLES = {
    LineTone.PLAIN: "",
    LineTone.DONE: "blue",
    LineTone.FAILED: "red",
    LineTone.CANCELED: "yellow",
    LineTone.WARNING: "yellow",
    LineTone.OUTPUT: "dim",
}

Size = Callable[[], tuple[int, int]]
"""A function that returns the terminal's current columns and rows."""


class TerminalDisplay:
    """Draws ``graph`` on ``outlet``, a terminal of ``size``; the first line names the ``builder``."""

    period: float | None = _PERIOD

    def __init__(
        self, outlet: TextOutlet, graph: StepGraph, *, env: Mapping[str, str], size: Size, builder: str = ""
    ) -> None:
        self._builder = builder
        self._outlet = outlet
        self._graph = graph
        self._env = env
        self._size = size
        self._begun_at: float | None = None
        self._styles: dict[LineTone, tuple[str, str]] = {}
        self._drawn: list[FrameLine] = []

    def take(self, update: RendererUpdate) -> None:
        """Record the start time; the next refresh draws the frame, because faster updates are unreadable."""
        if self._begun_at is None:
            self._begun_at = update.now

    def refresh(self, now: float) -> None:
        """Redraw the frame."""
        if self._begun_at is None:
            return
        width, height = self._size()
        canvas = FrameCanvas(width=max(width - 1, _SMALLEST), height=height, window=self._read_window_size())
        frame = compose_frame(self._graph, canvas, self._make_heading(now), now=now)
        self._draw(frame[: max(height - 1, 1)], "")

    def warn(self, text: str) -> None:
        """Write a warning above the frame, where it scrolls away with earlier output."""
        above = self._style_line([FrameLine(f"WARNING: {strip_control_characters(text)}", LineTone.WARNING)])
        self._draw(self._drawn, above)

    def put_above(self, line: str) -> None:
        """Write a line of the debug log above the frame."""
        self._draw(self._drawn, self._style_line([FrameLine(strip_control_characters(line), LineTone.OUTPUT)]))

    def close(self, graph: StepGraph, now: float, *, excerpt: str) -> None:
        """Draw the complete final frame and restore the cursor."""
        graph.flush()
        if self._begun_at is not None:
            canvas = FrameCanvas(width=max(self._size()[0] - 1, _SMALLEST), height=0, window=0)
            self._draw(compose_frame(graph, canvas, self._make_heading(now, finished=True), now=now), "")
        rest = "".join(f"{line}\n" for line in plain.format_closing(graph, limit=KEPT_LINES, excerpt=excerpt))
        self._outlet.write(_SHOW_CURSOR + rest)

    def _make_heading(self, now: float, *, finished: bool = False) -> FrameHeading:
        elapsed = max(0.0, now - (now if self._begun_at is None else self._begun_at))
        return FrameHeading(elapsed=elapsed, builder=self._builder, finished=finished)

    def _read_window_size(self) -> int:
        """Return the rows of output per step, which BuildKit's own variable sets."""
        wanted = self._env.get("BUILDKIT_TTY_LOG_LINES", "")
        return max(6, int(wanted)) if wanted.isdecimal() else 6

    def _draw(self, frame: list[FrameLine], above: str) -> None:
        self._outlet.write(_BEGIN + self._to_the_top() + above + self._style_line(frame) + _ERASE_BELOW + _END)
        self._drawn = frame

    def _to_the_top(self) -> str:
        """Return the sequence to the first line of the frame; lines wrap if the terminal became narrower."""
        width, height = self._size()
        rows = sum(max(1, -(-count_columns(line.text) // max(width, 1))) for line in self._drawn)
        rows = min(rows, max(height - 1, 0))
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _style_line(self, lines: list[FrameLine]) -> str:
        pieces = []
        for line in lines:
            before, after = self._choose_codes(line.tone)
            pieces.append(f"{before}{line.text}{after}{_ERASE_REST}\n")
        return "".join(pieces)

    def _choose_codes(self, tone: LineTone) -> tuple[str, str]:
        """Return the sequences before and after a line of this tone."""
        if not _STYLES[tone]:
            return "", ""
        if tone not in self._styles:
            self._styles[tone] = _render_style(_STYLES[tone], self._env)
        return self._styles[tone]


def _render_style(style: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the escape sequences of a style for this terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=StringIO(), force_terminal=True, legacy_windows=False, _environ=dict(env))
    with console.capture() as captured:
        console.print(Text("X", style=style), end="")
    before, _, after = captured.get().partition("X")
    return before, after
