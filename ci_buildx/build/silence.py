"""Log messages while buildkitd does not answer, and when it answers again."""

from __future__ import annotations

import threading

from ci_buildx.progress.display import BuildDisplay, DisplayPhase

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
            self._phase.add_output(f"pod {self._pod} answers again after {self._longest:.0f} s")
            self._end()
        self._longest = seconds
        if seconds >= self._next:
            self._next = seconds + _REPEAT
            self._phase = self._phase or self._display.begin_phase(f"waiting for pod {self._pod}")
            self._phase.add_output(f"no answer from pod {self._pod} for {seconds:.0f} s; waiting")

    def _end(self) -> None:
        if self._phase is not None:
            self._phase.end()
        self._phase, self._next = None, _NOTICEABLE
