"""No progress at all: warnings, and what explains a failure."""

from __future__ import annotations

from ci_buildx.progress.graph import Graph
from ci_buildx.progress.outlet import Outlet
from ci_buildx.progress.renderer import Update
from ci_buildx.progress.text import inert


class Quiet:
    """Stays silent while the build runs."""

    period: float | None = None

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def take(self, update: Update) -> None:
        """Nothing is shown."""

    def refresh(self, now: float) -> None:
        """Nothing is shown."""

    def warn(self, text: str) -> None:
        """Warnings are about the user's choices: also a quiet build shows them."""
        self._outlet.write(f"WARNING: {inert(text)}\n")

    def close(self, _graph: Graph, _now: float, /, *, excerpt: str) -> None:
        """Show where in the Dockerfile the build failed."""
        if excerpt:
            self._outlet.write(inert(excerpt.rstrip("\n")) + "\n")
