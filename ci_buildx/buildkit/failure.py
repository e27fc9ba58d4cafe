"""The reason why a build failed, read from the details of gRPC's status.

Source: BuildKit 0.34.2, ``util/grpcerrors/grpcerrors.go`` (each detail is an Any whose value is JSON),
``solver/errdefs`` (``Source`` with the Dockerfile and the ranges in it, ``Vertex``), buildx 0.38.2 for the layout.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any

from ci_buildx.buildkit.messages import RPC_STATUS, StatusDetail
from ci_buildx.errors import SolveError

_SOURCE = "github.com/moby/buildkit/errdefs.Source+json"
_VERTEX = "github.com/moby/buildkit/errdefs.Vertex+json"
_RULE = "-" * 20
_CHANGED = re.compile(r"error from sender: .* (?:vanished|shrank|grew|changed) ")
_UNCHANGED = "let nothing change the context while it is sent"


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


def format_excerpt(filename: str, text: str, ranges: Iterable[tuple[int, int]]) -> str:
    """Return the lines of ``ranges`` marked, with a few lines around them; "" if there are none.

    ``ranges`` are pairs of first and last line, from 1. The layout is that of ``docker buildx build`` (BuildKit
    ``solver/errdefs/source.go``).
    """
    lines = text.split("\n")
    spans = [(first, max(first, last)) for first, last in ranges]
    start = min((first for first, _ in spans), default=0)
    end = min(max((last for _, last in spans), default=0), len(lines))
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
                value = json.loads(detail.value)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                values.append(value)
    return values


def _make_excerpt(source: dict[str, Any]) -> str:
    try:
        info = source["info"]
        text = base64.b64decode(info["data"]).decode(errors="replace")
        ranges = [(_read_line(span, "start"), _read_line(span, "end")) for span in source["ranges"]]
        return format_excerpt(str(info.get("filename", "")), text, ranges)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _read_line(span: dict[str, Any], end: str) -> int:
    return int((span.get(end) or {}).get("line", 0))
