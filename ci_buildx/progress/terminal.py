"""Progress on a terminal: a frame that is drawn over itself.

A frame is one write, each line is overwritten before its rest is erased, and terminals that can are asked to show it at
once (synchronized output, mode 2026): nothing flickers. Colours and their absence (``NO_COLOR``) are rich's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO

from ci_buildx.progress import closing
from ci_buildx.progress.frame import Canvas, Heading, Line, Tone, columns, compose
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.outlet import Outlet
from ci_buildx.progress.renderer import Update
from ci_buildx.progress.step import KEPT_LINES
from ci_buildx.progress.text import printable

_PERIOD = 0.1
_SMALLEST = 20
_BEGIN, _END = "\x1b[?2026h\x1b[?25l", "\x1b[?2026l"
_SHOW_CURSOR = "\x1b[?25h"
_ERASE_REST, _ERASE_BELOW = "\x1b[K", "\x1b[J"
_STYLES = {
    Tone.PLAIN: "",
    Tone.DONE: "blue",
    Tone.FAILED: "red",
    Tone.CANCELED: "yellow",
    Tone.WARNING: "yellow",
    Tone.OUTPUT: "dim",
}

Size = Callable[[], tuple[int, int]]
"""The terminal's columns and rows, now."""


class Terminal:
    """Draws ``graph`` on ``outlet``, which is a terminal of ``size``."""

    period: float | None = _PERIOD

    def __init__(self, outlet: Outlet, graph: Graph, *, env: Mapping[str, str], size: Size, description: str) -> None:
        self._outlet = outlet
        self._graph = graph
        self._env = env
        self._size = size
        self._description = description
        self._begun_at: float | None = None
        self._styles: dict[Tone, tuple[str, str]] = {}
        self._drawn: list[Line] = []

    def take(self, update: Update) -> None:
        """The frame is drawn by the next refresh: faster than that nobody reads."""
        if self._begun_at is None:
            self._begun_at = update.now

    def refresh(self, now: float) -> None:
        """Draw the frame again."""
        if self._begun_at is None:
            return
        width, height = self._size()
        canvas = Canvas(width=max(width - 1, _SMALLEST), height=height, window=self._window())
        frame = compose(self._graph, canvas, self._heading(now), now=now)
        self._draw(frame[: max(height - 1, 1)], "")

    def warn(self, text: str) -> None:
        """Put a line above the frame, where it scrolls away with what was there before."""
        above = self._styled([Line(f"WARNING: {printable(text)}", Tone.WARNING)])
        self._draw(self._drawn, above)

    def put_above(self, line: str) -> None:
        """Put a line of the debug log above the frame."""
        self._draw(self._drawn, self._styled([Line(printable(line), Tone.OUTPUT)]))

    def close(self, graph: Graph, now: float, *, excerpt: str) -> None:
        """Draw the whole of it a last time and give the cursor back."""
        graph.flush()
        if self._begun_at is not None:
            canvas = Canvas(width=max(self._size()[0] - 1, _SMALLEST), height=0, window=0)
            self._draw(compose(graph, canvas, self._heading(now, finished=True), now=now), "")
        rest = "".join(f"{line}\n" for line in closing.lines(graph, limit=KEPT_LINES, excerpt=excerpt))
        self._outlet.write(_SHOW_CURSOR + rest)

    def _heading(self, now: float, *, finished: bool = False) -> Heading:
        elapsed = max(0.0, now - (now if self._begun_at is None else self._begun_at))
        return Heading(elapsed=elapsed, description=self._description, finished=finished)

    def _window(self) -> int:
        """Rows of output a step: BuildKit's own variable sets them."""
        wanted = self._env.get("BUILDKIT_TTY_LOG_LINES", "")
        return max(6, int(wanted)) if wanted.isdecimal() else 6

    def _draw(self, frame: list[Line], above: str) -> None:
        self._outlet.write(_BEGIN + self._to_the_top() + above + self._styled(frame) + _ERASE_BELOW + _END)
        self._drawn = frame

    def _to_the_top(self) -> str:
        """Back to the first line of what is drawn; a terminal that became narrower has wrapped long lines."""
        width, height = self._size()
        rows = sum(max(1, -(-columns(line.text) // max(width, 1))) for line in self._drawn)
        rows = min(rows, max(height - 1, 0))
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _styled(self, lines: list[Line]) -> str:
        pieces = []
        for line in lines:
            before, after = self._codes(line.tone)
            pieces.append(f"{before}{line.text}{after}{_ERASE_REST}\n")
        return "".join(pieces)

    def _codes(self, tone: Tone) -> tuple[str, str]:
        """What to write before and after a line of this tone."""
        if not _STYLES[tone]:
            return "", ""
        if tone not in self._styles:
            self._styles[tone] = _rendered(_STYLES[tone], self._env)
        return self._styles[tone]


def _rendered(style: str, env: Mapping[str, str]) -> tuple[str, str]:
    """A style in the escape sequences that this terminal understands."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=StringIO(), force_terminal=True, legacy_windows=False, _environ=dict(env))
    with console.capture() as captured:
        console.print(Text("X", style=style), end="")
    before, _, after = captured.get().partition("X")
    return before, after
