"""Phases of a job: their durations, and a pod's silence, which is shown as a phase."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_buildx.model import debug
from ci_buildx.progress.display import BuildDisplay, DisplayPhase

if TYPE_CHECKING:
    from ci_buildx.progress.timeline.timeline import PhaseLap

_LOG = debug.get_log("runtime")
UNSHOWN = {"plan": "planning"}
"""Phases that the display does not show as steps: display label by phase name."""


class PhaseTimes:
    """Seconds by phase name, in the order in which the phases began.

    A phase that runs several times is summed. ``begun`` has each one's first begin and ``ended`` its last end, in
    seconds since the epoch.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, calendar: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self.seconds: dict[str, float] = {}
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}

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
            self.ended[name] = self._calendar()
            _LOG.debug("phase %s ends after %.3f s", name, self._clock() - start)

    def list_laps(self) -> list[PhaseLap]:
        """Return the time span of each phase that the display does not show."""
        from ci_buildx.progress.timeline.timeline import PhaseLap

        return [
            PhaseLap(name=shown, begin=self.begun[name], end=self.begun[name] + self.seconds[name])
            for name, shown in UNSHOWN.items()
            if name in self.begun
        ]


_NOTICEABLE = 10.0
"""Seconds of silence before the first message: three of the session's pings."""
_REPEAT = 30.0
"""Seconds between two messages."""


class SilenceReport:
    """The silence of one pod, shown as a step of the build's log for as long as it lasts. Thread-safe."""

    def __init__(self, display: BuildDisplay, pod: str) -> None:
        self._display = display
        self._pod = pod
        self._phase: DisplayPhase | None = None
        self._longest = 0.0
        self._next = _NOTICEABLE
        self._closed = False
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """Record that the pod has been silent for ``seconds`` so far."""
        with self._lock:
            if not self._closed:
                self._note(seconds)

    def close(self, seconds: float) -> None:
        """Record the last silence and end the step, if there is one; later notes are ignored."""
        with self._lock:
            self._note(seconds)
            self._closed = True
            self._end()

    def _note(self, seconds: float) -> None:
        if seconds < self._longest and self._phase is not None:
            self._phase.add_output(f"pod {self._pod} responds again after {self._longest:.0f} s")
            self._end()
        self._longest = seconds
        if seconds >= self._next:
            self._next = seconds + _REPEAT
            self._phase = self._phase or self._display.begin_phase(f"waiting for pod {self._pod}")
            self._phase.add_output(f"no response from pod {self._pod} for {seconds:.0f} s; waiting")

    def _end(self) -> None:
        if self._phase is not None:
            self._phase.end()
        self._phase, self._next = None, _NOTICEABLE
