"""How long each phase of a job took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Phases:
    """Seconds by phase name, in the order in which the phases began. A phase that comes twice is added up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count the time inside as phase ``name``, also when it fails."""
        self.seconds.setdefault(name, 0.0)
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - start
