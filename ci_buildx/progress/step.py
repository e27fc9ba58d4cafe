"""Build steps, and the formats of their names, amounts, times and log output.

Formats are those of BuildKit 0.34.2 (``util/progress/progressui``) and of tonistiigi/units, which it uses for amounts.
"""

from __future__ import annotations

from collections import deque

from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import VertexStatus, VertexWarning

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_CONTROLS = compile_lazily(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSAFE = compile_lazily(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
"""ECMA-48 sequences in 7 and 8 bits, complete strings such as OSC, other controls and line breaks, and direction
overrides.
"""
_STRIPPED = compile_lazily(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?|[\u202a-\u202e\u2066-\u2069]"
)
"""The same, without control characters that count as white space."""
_OBEYED = compile_lazily(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COLOUR = compile_lazily(r"\x1b\[[0-9;:]*m")
_PLATFORM = compile_lazily(r"\[[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?[ \]]")
CANCELED = "context canceled"
"""The end of the error of a step that was stopped because the build was."""


def format_amount(size: int) -> str:
    """Format bytes in decimal units with two decimals, such as ``2.10MB``; plain bytes below 1000."""
    value, unit = float(size), 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.2f}{_UNITS[unit]}" if unit else f"{size}B"


def format_transfer(current: int, total: int) -> str:
    """Format an amount such as ``1.20MB / 3.40MB``, without the total if unknown."""
    if total:
        return f"{format_amount(current)} / {format_amount(total)}"
    return format_amount(current) if current else ""


def format_stamp(seconds: float) -> str:
    """Format the time of a log line within its step, always about five characters wide."""
    seconds = max(0.0, seconds)
    places = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return f"{seconds:.{places}f}"


def add_node_prefix(node: str, name: str) -> str:
    """Return a step's name with its node, unless it contains a platform, which already identifies the node.

    The format is that of buildx 0.38.2 (``util/progress/multiwriter.go``).
    """
    return name if _PLATFORM.match(name) else add_target_prefix(node, name)


def add_target_prefix(target: str, name: str) -> str:
    """Return a step's name with its target; "" adds nothing."""
    if not target:
        return name
    return f"[{target} {name[1:]}" if name.startswith("[") else f"[{target}] {name}"


def apply_carriage_returns(line: str) -> str:
    """Return what a terminal would show of a line after its carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


def strip_control_characters(line: str) -> str:
    """Return a line without escape sequences and control characters, for displays that count columns."""
    if line.isprintable():
        return line
    return _CONTROLS.sub(" ", _STRIPPED.sub("", line))


def drop_controls(text: str, *, colours: bool = True) -> str:
    """Remove from untrusted text what a terminal or CI log would interpret; keep tabs and, with ``colours``, SGR.

    So a step cannot set the terminal's title or clipboard, or open a section in GitLab's log.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)


def escape_controls(document: str) -> str:
    """Escape the characters of a JSON document that :func:`drop_controls` would remove, as ``\\u`` sequences."""
    if document.isascii() and document.isprintable():
        return document
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def is_canceled(error: str) -> bool:
    """Return whether a step was stopped because the build ended, not by itself."""
    return error.endswith(CANCELED)


KEPT_LINES = 1000
LONGEST_LINE = 1 << 16

Key = tuple[str, str]
"""The name of a node and a digest: two nodes may run steps with the same digest."""


PHASE_DIGEST = f"sha256:{'0' * 32}"
"""The prefix of our own phases' digests, which no real content has."""


@dataclass(frozen=True, slots=True)
class StepLogLine:
    """A complete line of output; ``stamp`` is its time within the step."""

    stamp: str
    text: str

    def __str__(self) -> str:
        return f"{self.stamp} {self.text}"


@dataclass(slots=True, eq=False)
class BuildStep:
    """A vertex, or a group of vertexes shown as one.

    ``intervals`` maps the starts of its runs to their ends (None while running), by the clock of its node; ``skew``
    (seconds) is added to that clock to get ours. ``lines`` holds the last complete lines of its output, ``inputs`` the
    digests of the vertexes that it depends on.
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
    lines: deque[StepLogLine] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    partial: bytes = b""
    partial_stamp: str = ""
    log_bytes: int = 0

    @property
    def ours(self) -> bool:
        """Whether it is one of our own phases, whose failure the final error reports."""
        return self.key[1].startswith(PHASE_DIGEST)

    @property
    def started(self) -> bool:
        """Whether it has started."""
        return bool(self.intervals)

    @property
    def completed(self) -> bool:
        """Whether it has started and no run is active."""
        return self.started and None not in self.intervals.values()

    @property
    def canceled(self) -> bool:
        """Whether it was stopped because the build ended."""
        return is_canceled(self.error)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of its own."""
        return bool(self.error) and not self.canceled

    @property
    def finished_at(self) -> float:
        """The end of its last run by our clock; 0 if none has ended."""
        return max((end for end in self.intervals.values() if end is not None), default=-self.skew) + self.skew

    def compute_duration(self, now: float) -> float:
        """Return the seconds it ran until ``now`` (our clock); overlaps count once, clock jumps are ignored."""
        here = now - self.skew
        total, reached = 0.0, float("-inf")
        for begin in sorted(self.intervals):
            end = self.intervals[begin]
            end = here if end is None else end
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total

    def compute_offset(self, timestamp: float | None) -> float:
        """Return the seconds from the start of its latest run to ``timestamp`` (the node's clock), never negative."""
        if timestamp is None or not self.intervals:
            return 0.0
        return max(0.0, timestamp - max(self.intervals))
