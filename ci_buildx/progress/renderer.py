"""What each mode of the display implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import StatusUpdate
from ci_buildx.progress.graph import StepChange, StepGraph
from ci_buildx.progress.outlet import TextOutlet
from ci_buildx.progress.step import drop_controls


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererUpdate:
    """One message of a node: ``status`` as it came (names carry the node), ``changes`` as the graph understood it."""

    status: StatusUpdate
    changes: Sequence[StepChange]
    now: float


class Renderer(Protocol):
    """Draws a graph on a stream; the display calls one method at a time.

    ``period`` is the longest time (s) between two calls of ``refresh`` while it is open, None if it needs none.
    """

    period: float | None

    def take(self, update: RendererUpdate, /) -> None:
        """Take in a change; what must appear at once is written."""

    def refresh(self, now: float, /) -> None:
        """Write what has changed since the last refresh."""

    def warn(self, text: str) -> None:
        """Show a warning of our own."""

    def close(self, graph: StepGraph, now: float, /, *, excerpt: str) -> None:
        """Write the last state and what explains a failure; ``excerpt`` holds the Dockerfile's lines, or nothing."""


class QuietLog:
    """Stays silent while the build runs."""

    period: float | None = None

    def __init__(self, outlet: TextOutlet) -> None:
        self._outlet = outlet

    def take(self, update: RendererUpdate) -> None:
        """Nothing is shown."""

    def refresh(self, now: float) -> None:
        """Nothing is shown."""

    def warn(self, text: str) -> None:
        """Warnings are about the user's choices: also a quiet build shows them."""
        self._outlet.write(f"WARNING: {drop_controls(text)}\n")

    def close(self, _graph: StepGraph, _now: float, /, *, excerpt: str) -> None:
        """Show where in the Dockerfile the build failed."""
        if excerpt:
            self._outlet.write(drop_controls(excerpt.rstrip("\n")) + "\n")
