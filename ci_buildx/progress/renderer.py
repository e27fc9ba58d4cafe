"""What each mode of the display implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import StatusUpdate
from ci_buildx.progress.graph import Change, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One message of a node: ``status`` as it came (names carry the node), ``changes`` as the graph understood it."""

    status: StatusUpdate
    changes: Sequence[Change]
    now: float


class Renderer(Protocol):
    """Draws a graph on a stream; the display calls one method at a time.

    ``period`` is the longest time (s) between two calls of ``refresh`` while it is open, None if it needs none.
    """

    period: float | None

    def take(self, update: Update, /) -> None:
        """Take in a change; what must appear at once is written."""

    def refresh(self, now: float, /) -> None:
        """Write what has changed since the last refresh."""

    def warn(self, text: str) -> None:
        """Show a warning of our own."""

    def close(self, graph: Graph, now: float, /, *, excerpt: str) -> None:
        """Write the last state and what explains a failure; ``excerpt`` holds the Dockerfile's lines, or nothing."""
