"""One step of the build as it is displayed."""

from __future__ import annotations

from collections import deque

from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import VertexStatus, VertexWarning
from ci_buildx.progress.text import is_canceled

KEPT_LINES = 1000
LONGEST_LINE = 1 << 16

Key = tuple[str, str]
"""A node's name and a digest: two nodes may run steps of the same digest."""


PHASE_DIGEST = f"sha256:{'0' * 32}"
"""What digests of our own phases begin with; no content that exists has such a one."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A complete line of output; ``stamp`` is its time inside the step."""

    stamp: str
    text: str

    def __str__(self) -> str:
        return f"{self.stamp} {self.text}"


@dataclass(slots=True, eq=False)
class Step:
    """A vertex, or a group of vertexes shown as one.

    ``intervals`` maps the starts of its runs to their ends (None while running), by the clock of its node;
    ``skew`` is what to add to that clock to get ours. ``lines`` holds the last complete lines of its output,
    ``inputs`` the digests of the vertexes that it builds on.
    """

    key: Key
    name: str = ""
    cached: bool = False
    error: str = ""
    hidden: bool = False
    skew: float = 0.0
    inputs: tuple[str, ...] = ()
    intervals: dict[float, float | None] = field(default_factory=dict)
    statuses: dict[str, VertexStatus] = field(default_factory=dict)
    warnings: list[VertexWarning] = field(default_factory=list)
    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    partial: bytes = b""
    partial_stamp: str = ""
    log_bytes: int = 0

    @property
    def ours(self) -> bool:
        """Whether it is a phase of our own, which the final error tells about."""
        return self.key[1].startswith(PHASE_DIGEST)

    @property
    def started(self) -> bool:
        """Whether it has begun."""
        return bool(self.intervals)

    @property
    def completed(self) -> bool:
        """Whether it has begun and nothing of it runs."""
        return self.started and None not in self.intervals.values()

    @property
    def canceled(self) -> bool:
        """Whether it ended because the build did."""
        return is_canceled(self.error)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of its own."""
        return bool(self.error) and not self.canceled

    @property
    def finished_at(self) -> float:
        """When its last run ended, by our clock; 0 where none has."""
        return max((end for end in self.intervals.values() if end is not None), default=-self.skew) + self.skew

    def duration(self, now: float) -> float:
        """Seconds it has run until ``now`` (our clock); what overlaps counts once, clocks that jump count nothing."""
        here = now - self.skew
        total, reached = 0.0, float("-inf")
        for begin in sorted(self.intervals):
            end = self.intervals[begin]
            end = here if end is None else end
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total

    def into(self, timestamp: float | None) -> float:
        """Seconds from the beginning of its latest run to ``timestamp`` (the node's clock), never negative."""
        if timestamp is None or not self.intervals:
            return 0.0
        return max(0.0, timestamp - max(self.intervals))
