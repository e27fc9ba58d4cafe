"""When and after which pause a call is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ci_buildx.model.record import dataclass

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Statuses that say "not now"; the rest would say the same again."""

_LONGEST_ASKED = 30.0


def _random() -> float:
    from random import random

    return random()  # noqa: S311


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """``attempts`` in all; pauses grow from ``first`` to ``longest`` seconds, each varied by half up or down.

    A server that has answered before, and cannot be reached now, is tried for ``patience`` seconds at least: it may be
    restarting, or the network may be cut.
    """

    attempts: int = 6
    first: float = 0.1
    longest: float = 5.0
    patience: float = 75.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _random

    def pause(self, attempt: int, retry_after: str = "") -> float:
        """Seconds to wait after attempt number ``attempt`` (from 0); a Retry-After in seconds is a lower bound."""
        grown = min(self.first * 2.0**attempt, self.longest) * (0.5 + self.random())
        asked = float(retry_after) if retry_after.isdigit() else 0.0
        return max(grown, min(asked, _LONGEST_ASKED))
