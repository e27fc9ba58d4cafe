"""Values that buildkitd reports about a running solve.

Field names and numbers are those of ``moby.buildkit.v1`` (BuildKit 0.34.2, ``api/services/control/control.proto``); the
definitions are in ``ci_buildx/buildkit/control.proto``. Times are seconds since the epoch, None if unset.
"""

from __future__ import annotations

from pathlib import Path

from ci_buildx.model.record import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressGroup:
    """Group of steps with one ``id``, shown as one step ``name``; ``weak`` members alone do not make it visible."""

    id: str
    name: str = ""
    weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One step of the build. ``error`` is empty unless it has failed; steps of one ``group`` are shown as one."""

    digest: str
    inputs: tuple[str, ...] = ()
    name: str = ""
    cached: bool = False
    started: float | None = None
    completed: float | None = None
    error: str = ""
    group: ProgressGroup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStatus:
    """One line of progress inside a step: bytes of a layer pulled, files transferred…"""

    id: str
    vertex: str
    name: str = ""
    current: int = 0
    total: int = 0
    timestamp: float | None = None
    started: float | None = None
    completed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexLog:
    """Output of a step; ``stream`` 1 is standard output, 2 standard error. ``data`` may end within a line."""

    vertex: str
    timestamp: float | None = None
    stream: int = 1
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWarning:
    """Finding of a build check.

    ``filename`` and ``ranges`` (first and last line, from 1) locate it; both are empty if unknown. ``source`` is the
    whole file, in ``language``.
    """

    vertex: str
    level: int = 0
    short: str = ""
    detail: tuple[str, ...] = ()
    url: str = ""
    filename: str = ""
    language: str = ""
    source: bytes = field(default=b"", repr=False)
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def line(self) -> int:
        """Number of the first affected line, 0 if unknown."""
        return self.ranges[0][0] if self.ranges else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """One message of the Status stream."""

    vertexes: tuple[Vertex, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()
    warnings: tuple[VertexWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFinding:
    """Finding of a build check, ready to show.

    ``rule`` is the check's name ("" if unknown), ``message`` is one line, ``description`` explains why it matters.
    ``filename`` is BuildKit's name of the file, ``path`` its location on this machine (None if it is not here).
    ``line`` and ``last_line`` count from 1; 0 if unknown. ``fatal``: an error that ended the checks.
    """

    rule: str
    message: str
    description: str = ""
    url: str = ""
    filename: str = ""
    path: Path | None = None
    line: int = 0
    last_line: int = 0
    fatal: bool = False


def read_finding(warning: VertexWarning, path: Path | None = None) -> CheckFinding:
    """Convert a warning of a build, ``Rule: message (line 3)`` (BuildKit 0.34.2, ``linter.LintFormatShort``)."""
    rule, colon, message = warning.short.partition(": ")
    if not (colon and rule.isalnum()):
        rule, message = "", warning.short
    first, last = warning.ranges[0] if warning.ranges else (0, 0)
    return CheckFinding(
        rule=rule,
        message=message.removesuffix(f" (line {first})"),
        description=" ".join(warning.detail),
        url=warning.url,
        filename=warning.filename,
        path=path,
        line=first,
        last_line=last,
    )
