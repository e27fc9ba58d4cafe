"""The answer to the call ``lint``: what build checks found, and how far they came.

Source: BuildKit 0.34.2, ``frontend/subrequests/lint/lint.go`` (the JSON, the order and layout of the text);
buildx 0.38.2, ``commands/build.go`` (``printResult``: the first and the last line).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci_buildx.buildkit.failure import excerpt
from ci_buildx.errors import BuildkitError
from ci_buildx.model.finding import Finding
from ci_buildx.model.record import dataclass

_NONE = "Check complete, no warnings found."
_Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Dockerfile as the frontend saw it; ``shown`` and ``path`` are what the user knows it by."""

    filename: str
    text: str
    shown: str
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """``findings`` in the file's order, at the end the error that ended the checks, if one did; ``text`` shows them."""

    findings: tuple[Finding, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    source: Source | None
    ranges: _Ranges

    @property
    def key(self) -> tuple[bool, str, int]:
        """Where it comes in the order: what has no place goes first."""
        return self.source is not None, self.source.filename if self.source else "", self.first

    @property
    def first(self) -> int:
        return self.ranges[0][0] if self.ranges else 0

    def excerpt(self) -> str:
        return excerpt(self.source.shown, self.source.text, self.ranges) if self.source else ""


def read(text: str, names: Mapping[str, tuple[str, Path]]) -> Checked:
    """The answer ``result.json``; ``names`` has, by the frontend's name of a file, how it is shown and where it is.

    Raises BuildkitError for what is no such answer.
    """
    try:
        answer = json.loads(text)
        sources = [_source(each, names) for each in answer.get("sources") or ()]
        warnings = [(each, _place(each.get("location"), sources)) for each in answer.get("warnings") or ()]
        failed = answer.get("buildError")
        error = (str(failed["message"]), _place(failed.get("location"), sources)) if failed else None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as problem:
        raise BuildkitError("the frontend answered a check with something else than findings") from problem
    warnings.sort(key=lambda pair: (*pair[1].key, str(pair[0].get("ruleName", ""))))
    findings = [_finding(warning, place) for warning, place in warnings]
    lines = [*_warning_lines(warnings), *_error_lines(error)]
    if error:
        findings.append(_located(error[1], rule="", message=error[0], fatal=True))
    return Checked(findings=tuple(findings), text="\n".join((*(lines or [_NONE]), "")).lstrip("\n"))


def _warning_lines(warnings: list[tuple[dict[str, Any], _Place]]) -> Iterator[str]:
    if warnings:
        found = "1 warning has been found!" if len(warnings) == 1 else f"{len(warnings)} warnings have been found!"
        yield f"Check complete, {found}"
    for warning, place in warnings:
        url = warning.get("url")
        yield ""
        yield f"WARNING: {warning.get('ruleName', '')}" + (f" - {url}" if url else "")
        yield str(warning.get("detail", ""))
        if shown := place.excerpt():
            yield shown


def _error_lines(error: tuple[str, _Place] | None) -> Iterator[str]:
    if error:
        yield ""
        yield f"ERROR: {error[0]}"
        if shown := error[1].excerpt():
            yield shown


def _source(source: dict[str, Any], names: Mapping[str, tuple[str, Path]]) -> Source:
    filename = str(source.get("filename", ""))
    shown, path = names.get(filename, (filename, None))
    text = base64.b64decode(source.get("data") or "").decode(errors="replace")
    return Source(filename=filename, text=text, shown=shown, path=path)


def _place(location: dict[str, Any] | None, sources: list[Source]) -> _Place:
    location = location or {}
    index = int(location.get("sourceIndex", 0))
    ranges = tuple((_line(span, "start"), _line(span, "end")) for span in location.get("ranges") or ())
    return _Place(source=sources[index] if sources and index >= 0 else None, ranges=ranges)


def _line(span: dict[str, Any], end: str) -> int:
    return int((span.get(end) or {}).get("line", 0))


def _finding(warning: dict[str, Any], place: _Place) -> Finding:
    return _located(
        place,
        rule=str(warning.get("ruleName", "")),
        message=str(warning.get("detail", "")),
        description=str(warning.get("description", "")),
        url=str(warning.get("url", "")),
    )


def _located(place: _Place, **fields: Any) -> Finding:
    first, last = place.ranges[0] if place.ranges else (0, 0)
    source = place.source
    return Finding(
        filename=source.filename if source else "",
        path=source.path if source else None,
        line=first,
        last_line=max(first, last),
        **fields,
    )
