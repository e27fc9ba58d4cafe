"""What a build check says of a Dockerfile."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.model.record import dataclass
from ci_buildx.model.status import VertexWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
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


def finding_of(warning: VertexWarning, path: Path | None = None) -> Finding:
    """A finding that came while building: ``Rule: message (line 3)`` (BuildKit 0.34.2, ``linter.LintFormatShort``)."""
    rule, colon, message = warning.short.partition(": ")
    if not (colon and rule.isalnum()):
        rule, message = "", warning.short
    first, last = warning.ranges[0] if warning.ranges else (0, 0)
    return Finding(
        rule=rule,
        message=message.removesuffix(f" (line {first})"),
        description=" ".join(warning.detail),
        url=warning.url,
        filename=warning.filename,
        path=path,
        line=first,
        last_line=last,
    )
