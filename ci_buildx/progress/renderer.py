"""The interface of display modes, their output stream, and the quiet mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TextIO

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import StatusUpdate
from ci_buildx.progress.graph import StepChange, StepGraph
from ci_buildx.progress.step import drop_controls


class TextOutlet:
    """Writes text to ``stream``; once that is broken, writes nothing.

    A reader that went away (``| head``) must not fail the build.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, text: str) -> None:
        """Write and flush; escape characters that the stream's encoding lacks."""
        if self._broken or self._stream.closed:
            return
        try:
            self._stream.write(self._replace_unencodable(text))
            self._stream.flush()
        except OSError:
            self._broken = True

    def _replace_unencodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererUpdate:
    """A status message of one node: ``status`` as received (names include the node), ``changes`` from the graph."""

    status: StatusUpdate
    changes: Sequence[StepChange]
    now: float


class Renderer(Protocol):
    """Draws a graph on a stream; the display calls one method at a time.

    ``period`` is the maximum time in seconds between two calls of ``refresh`` while it is open, None if it needs none.
    """

    period: float | None

    def take(self, update: RendererUpdate, /) -> None:
        """Process an update; write what must appear at once."""

    def refresh(self, now: float, /) -> None:
        """Write what has changed since the last refresh."""

    def warn(self, text: str) -> None:
        """Show a warning of our own."""

    def close(self, graph: StepGraph, now: float, /, *, excerpt: str) -> None:
        """Write the final state and the closing report; ``excerpt`` holds the Dockerfile's lines, or ""."""


class QuietLog:
    """Writes no progress."""

    period: float | None = None

    def __init__(self, outlet: TextOutlet) -> None:
        self._outlet = outlet

    def take(self, update: RendererUpdate) -> None:
        """Do nothing."""

    def refresh(self, now: float) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Write the warning: warnings are about the user's input, so even a quiet build shows them."""
        self._outlet.write(f"WARNING: {drop_controls(text)}\n")

    def close(self, _graph: StepGraph, _now: float, /, *, excerpt: str) -> None:
        """Show where in the Dockerfile the build failed."""
        if excerpt:
            self._outlet.write(drop_controls(excerpt.rstrip("\n")) + "\n")
