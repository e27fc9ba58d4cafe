"""What buildkitd reports about a running solve.

Field names and numbers are those of ``moby.buildkit.v1`` (BuildKit 0.34.2, ``api/services/control/control.proto``);
the definitions are in ``ci_buildx/buildkit/control.proto``. Times are seconds since the epoch, None where unset.
"""

from __future__ import annotations

from pathlib import Path

from ci_buildx.model.record import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressGroup:
    """Steps with one ``id`` are shown as one step called ``name``; ``weak`` members alone do not make it visible."""

    id: str
    name: str = ""
    weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One step of the build. ``error`` is empty while it has not failed; steps of one ``group`` are shown as one."""

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
    """Output of a step; ``stream`` 1 is standard output, 2 standard error. ``data`` need not end at a line."""

    vertex: str
    timestamp: float | None = None
    stream: int = 1
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWarning:
    """A build check's finding.

    ``filename`` and ``ranges`` (first and last line, from 1) say where; "" and none where unknown. ``source`` is the
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
        """The line that it is about, 0 where unknown."""
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
    """``rule`` is the check's name ("" where unknown), ``message`` one line, ``description`` why it matters.

    ``filename`` is what BuildKit calls the file, ``path`` where it is on this machine (None for one that is not here).
    ``line`` and ``last_line`` count from 1; 0 where unknown. A ``fatal`` one is an error that ended the checks.
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
    """A finding that came while building: ``Rule: message (line 3)`` (BuildKit 0.34.2, ``linter.LintFormatShort``)."""
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
