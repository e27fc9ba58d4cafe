"""When a tunnel knocks at a pod that comes up: each knock is a call to the API server, and few of them are enough.

The status of a pod tells up to a second late that its container runs (the kubelet looks once a second), so a boot is
quickest where tunnels begin before that, blindly. When the first second has not been enough, an image is being pulled
or the node is slow: then they rest until the pod's status says more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import IntEnum

BLIND = (0.12, 0.18, 0.28)
"""Seconds between knocks at a pod that nothing is known of: four of them."""
EARLY = (0.6,)
"""The same at a pod whose container runs: what buildkitd needs to begin to listen, twice."""

_FIRST_GAP = 0.5
_LONGEST_GAP = 2.0
_LOOK = 0.02
_REST = 0.2
"""Seconds for which a turn is waited for at a time, so that the end of the race is noticed."""


class Stage(IntEnum):
    """What the status of a pod says."""

    UNKNOWN = 0
    RUNNING = 1
    READY = 2


class NotYet(Exception):
    """A transport that rests: it was not tried."""


class Knocks:
    """The turns of one transport at one pod.

    ``blind`` and ``early`` are its gaps while nothing is known and while the container runs; None for not at all. A
    pod that is ready is knocked at for ever, ever more slowly.
    """

    def __init__(
        self,
        stage: Callable[[], Stage],
        *,
        blind: Sequence[float] | None = BLIND,
        early: Sequence[float] | None = EARLY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._stage = stage
        self._gaps = {Stage.UNKNOWN: blind, Stage.RUNNING: early}
        self._clock = clock
        self._sleep = sleep
        self._seen = Stage.UNKNOWN
        self._made = 0
        self._last = 0.0

    def take_turn(self) -> None:
        """Return when it is time to knock. Raises NotYet after a moment in which it was not."""
        until = self._clock() + _REST
        while not self._is_due():
            if self._clock() >= until:
                raise NotYet
            self._sleep(_LOOK)
        self._made += 1
        self._last = self._clock()

    def _is_due(self) -> bool:
        stage = self._stage()
        if stage > self._seen:
            self._seen, self._made = stage, 0
        return self._clock() - self._last >= self._gap()

    def _gap(self) -> float:
        """Seconds from the last knock to the next."""
        if self._seen is Stage.READY:
            return min(_FIRST_GAP * 2.0 ** (self._made - 1), _LONGEST_GAP) if self._made else 0.0
        gaps = self._gaps[self._seen]
        if gaps is None or self._made > len(gaps):
            return float("inf")
        return gaps[self._made - 1] if self._made else 0.0
