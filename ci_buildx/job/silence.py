"""Report in the log that buildkitd does not answer, and that it answers again."""

from __future__ import annotations

from ci_buildx.progress.display import Display, Phase

_NOTICEABLE = 10.0
"""Seconds of silence that are worth a line: three of the session's pings."""
_REPEAT = 30.0
"""Seconds between two such lines."""


class SilenceReport:
    """The silence of one pod, as a step of the build's log that lasts as long as the silence does."""

    def __init__(self, display: Display, pod: str) -> None:
        self._display = display
        self._pod = pod
        self._phase: Phase | None = None
        self._longest = 0.0
        self._next = _NOTICEABLE

    def note(self, seconds: float) -> None:
        """Take in for how many ``seconds`` the pod has been silent by now."""
        if seconds < self._longest and self._phase is not None:
            self._phase.say(f"pod {self._pod} answers again after {self._longest:.0f} s")
            self.end()
        self._longest = seconds
        if seconds >= self._next:
            self._next = seconds + _REPEAT
            self._phase = self._phase or self._display.phase(f"waiting for pod {self._pod}")
            self._phase.say(f"no answer from pod {self._pod} for {seconds:.0f} s; waiting")

    def end(self) -> None:
        """End the step, if there is one."""
        if self._phase is not None:
            self._phase.end()
        self._phase, self._next = None, _NOTICEABLE
