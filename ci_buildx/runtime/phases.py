"""Durations of a job's phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_buildx.model import debug

if TYPE_CHECKING:
    from ci_buildx.progress.timeline.timeline import PhaseLap

_LOG = debug.get_log("runtime")
UNSHOWN = {"plan": "planning"}
"""Phases that the display does not show as steps: display label by phase name."""


class PhaseTimes:
    """Seconds by phase name, in the order in which the phases began.

    A phase that runs several times is summed.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, calendar: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self.seconds: dict[str, float] = {}
        self.begun: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure the time inside as phase ``name``, even if it raises."""
        self.seconds.setdefault(name, 0.0)
        self.begun.setdefault(name, self._calendar())
        start = self._clock()
        _LOG.debug("phase %s begins", name)
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - start
            _LOG.debug("phase %s ends after %.3f s", name, self._clock() - start)

    def list_laps(self) -> list[PhaseLap]:
        """Return the time span of each phase that the display does not show."""
        from ci_buildx.progress.timeline.timeline import PhaseLap

        return [
            PhaseLap(name=shown, begin=self.begun[name], end=self.begun[name] + self.seconds[name])
            for name, shown in UNSHOWN.items()
            if name in self.begun
        ]
