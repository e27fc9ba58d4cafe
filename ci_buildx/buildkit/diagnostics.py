"""Why a build failed, and the findings of build checks, with excerpts of the Dockerfile.

Source: BuildKit 0.34.2, ``util/grpcerrors/grpcerrors.go`` (each detail is an Any whose value is JSON),
``solver/errdefs`` (``Source`` with the Dockerfile and the ranges in it, ``Vertex``), buildx 0.38.2 for the layout.

Source of the findings: BuildKit 0.34.2, ``frontend/subrequests/lint/lint.go`` (the JSON, the order and layout of the
text); buildx 0.38.2, ``commands/build.go`` (``printResult``: the first and the last line).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ci_buildx.buildkit.messages import RPC_STATUS, StatusDetail
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.model.status import CheckFinding

_SOURCE = "github.com/moby/buildkit/errdefs.Source+json"
_VERTEX = "github.com/moby/buildkit/errdefs.Vertex+json"
_RULE = "-" * 20
_CHANGED = re.compile(r"error from sender: .* (?:vanished|shrank|grew|changed) ")
_UNCHANGED = "do not change the context while it is sent"


def read_failure(message: str, details: bytes) -> SolveError:
    """Return the error for a failed Solve.

    ``message`` is its status message, ``details`` its ``grpc-status-details-bin`` (b"" if missing).
    """
    try:
        found = RPC_STATUS.decode(details).details
    except ValueError:
        found = ()
    excerpts = [excerpt for source in _parse_details(found, _SOURCE) if (excerpt := _make_excerpt(source))]
    vertexes = [str(vertex.get("digest", "")) for vertex in _parse_details(found, _VERTEX)]
    return SolveError(
        f"failed to solve: {message}",
        vertex=vertexes[-1] if vertexes else "",
        excerpt="\n".join(dict.fromkeys(excerpts)),
        line=int(excerpts[0].partition("\n")[0].rpartition(":")[2]) if excerpts else 0,
        fix=_UNCHANGED if _CHANGED.search(message) else "",
    )


MOST_LINES = 200
"""Lines of a Dockerfile that an error shows."""
MOST_RANGES = 100
"""Ranges of lines that an error marks."""


def format_excerpt(filename: str, text: str, ranges: Iterable[tuple[int, int]]) -> str:
    """Return the lines of ``ranges`` marked, with a few lines around them; "" if there are none.

    ``ranges`` are pairs of first and last line, from 1. The layout is that of ``docker buildx build`` (BuildKit
    ``solver/errdefs/source.go``).
    """
    lines = text.split("\n")
    spans = [(first, max(first, last)) for first, last in islice(ranges, MOST_RANGES)]
    start = min((first for first, _ in spans), default=0)
    end = min(max((last for _, last in spans), default=0), len(lines), start + MOST_LINES)
    if not 1 <= start <= len(lines):
        return ""
    before, after = _compute_margins(start, end, len(lines))
    shown = [f"{filename}:{start}", _RULE]
    for number in range(start - before, end + after + 1):
        mark = ">>>" if any(first <= number <= last for first, last in spans) else "   "
        shown.append(f" {number:3} | {mark} {lines[number - 1]}")
    return "\n".join((*shown, _RULE))


def _compute_margins(start: int, end: int, total: int) -> tuple[int, int]:
    """Return how many lines to show before and after: about four in total for a single line, two for several."""
    wanted = 4 if start == end else 2
    before = after = used = 0
    while used < wanted:
        if start - before > 1:
            before += 1
            used += 1
        if end + after < total:
            after += 1
            used += 1
        used += 1
    return before, after


def _parse_details(details: Iterable[StatusDetail], type_url: str) -> list[dict[str, Any]]:
    values = []
    for detail in details:
        if detail.type_url == type_url:
            try:
                value = parse_json(detail.value)
            except ValueError:
                continue
            if isinstance(value, dict):
                values.append(value)
    return values


def _make_excerpt(source: dict[str, Any]) -> str:
    try:
        info = source["info"]
        text = base64.b64decode(info["data"]).decode(errors="replace")
        ranges = list(map(read_line_range, source["ranges"]))
        return format_excerpt(str(info.get("filename", "")), text, ranges)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def read_line_range(span: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first and last line of a range in BuildKit's JSON; 0 for a missing one."""
    first, last = (int((span.get(end) or {}).get("line", 0)) for end in ("start", "end"))
    return first, last


_NONE = "Check complete, no warnings found."
_Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSource:
    """A Dockerfile as the frontend saw it; ``shown`` and ``path`` are its display name and local path."""

    filename: str
    text: str
    shown: str
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Findings in file order, followed by the error that ended the checks, if any; ``text`` is the report to print."""

    findings: tuple[CheckFinding, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourcePlace:
    source: CheckedSource | None
    ranges: _Ranges

    @property
    def key(self) -> tuple[bool, str, int]:
        """The sort key; findings without a location come first."""
        return self.source is not None, self.source.filename if self.source else "", self.first

    @property
    def first(self) -> int:
        return self.ranges[0][0] if self.ranges else 0

    def format_excerpt(self) -> str:
        return format_excerpt(self.source.shown, self.source.text, self.ranges) if self.source else ""


def read_check_report(text: str, names: Mapping[str, tuple[str, Path]]) -> CheckReport:
    """Parse the answer ``result.json``.

    ``names`` maps the frontend's file names to display name and local path. Raises BuildkitError if the answer is
    malformed.
    """
    try:
        answer = parse_json(text)
        sources = [_read_source(each, names) for each in answer.get("sources") or ()]
        warnings = [(each, _find_place(each.get("location"), sources)) for each in answer.get("warnings") or ()]
        failed = answer.get("buildError")
        error = (str(failed["message"]), _find_place(failed.get("location"), sources)) if failed else None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as problem:
        raise BuildkitError("the frontend returned an invalid response to a check") from problem
    warnings.sort(key=lambda pair: (*pair[1].key, str(pair[0].get("ruleName", ""))))
    findings = [_make_finding(warning, place) for warning, place in warnings]
    lines = [*_format_warnings(warnings), *_format_error(error)]
    if error:
        findings.append(_describe_place(error[1], rule="", message=error[0], fatal=True))
    return CheckReport(findings=tuple(findings), text="\n".join((*(lines or [_NONE]), "")).lstrip("\n"))


def _format_warnings(warnings: list[tuple[dict[str, Any], _SourcePlace]]) -> Iterator[str]:
    if warnings:
        found = "1 warning has been found!" if len(warnings) == 1 else f"{len(warnings)} warnings have been found!"
        yield f"Check complete, {found}"
    for warning, place in warnings:
        url = warning.get("url")
        yield ""
        yield f"WARNING: {warning.get('ruleName', '')}" + (f" - {url}" if url else "")
        yield str(warning.get("detail", ""))
        if shown := place.format_excerpt():
            yield shown


def _format_error(error: tuple[str, _SourcePlace] | None) -> Iterator[str]:
    if error:
        yield ""
        yield f"ERROR: {error[0]}"
        if shown := error[1].format_excerpt():
            yield shown


def _read_source(source: dict[str, Any], names: Mapping[str, tuple[str, Path]]) -> CheckedSource:
    filename = str(source.get("filename", ""))
    shown, path = names.get(filename, (filename, None))
    text = base64.b64decode(source.get("data") or "").decode(errors="replace")
    return CheckedSource(filename=filename, text=text, shown=shown, path=path)


def _find_place(location: dict[str, Any] | None, sources: list[CheckedSource]) -> _SourcePlace:
    location = location or {}
    index = int(location.get("sourceIndex", 0))
    ranges = tuple(map(read_line_range, location.get("ranges") or ()))
    return _SourcePlace(source=sources[index] if sources and index >= 0 else None, ranges=ranges)


def _make_finding(warning: dict[str, Any], place: _SourcePlace) -> CheckFinding:
    return _describe_place(
        place,
        rule=str(warning.get("ruleName", "")),
        message=str(warning.get("detail", "")),
        description=str(warning.get("description", "")),
        url=str(warning.get("url", "")),
    )


def _describe_place(place: _SourcePlace, **fields: Any) -> CheckFinding:
    first, last = place.ranges[0] if place.ranges else (0, 0)
    source = place.source
    return CheckFinding(
        filename=source.filename if source else "",
        path=source.path if source else None,
        line=first,
        last_line=max(first, last),
        **fields,
    )
