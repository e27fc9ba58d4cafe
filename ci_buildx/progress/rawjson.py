"""Progress for programs: one JSON object a line, as ``buildx build --progress rawjson`` writes them.

Names and forms are those of ``client.SolveStatus`` (BuildKit 0.34.2, ``client/graph.go``) as Go's encoding/json writes
it: bytes in base64, times in RFC 3339 with up to nine decimals, empty values left out.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.outlet import Outlet
from ci_buildx.progress.renderer import Update


class RawJson:
    """Writes each message as it comes."""

    period: float | None = None

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def take(self, update: Update) -> None:
        """Write a message as a line, if it says anything."""
        if update.status == StatusUpdate():
            return
        self._outlet.write(line(update.status) + "\n")

    def refresh(self, now: float) -> None:
        """Nothing is held back."""

    def warn(self, text: str) -> None:
        """A warning of ours has the form of a check's finding that belongs to no step."""
        self._outlet.write(line(StatusUpdate(warnings=(VertexWarning(vertex="", level=1, short=text),))) + "\n")

    def close(self, graph: Graph, now: float, *, excerpt: str) -> None:
        """The failed step carries its error already."""


def line(status: StatusUpdate) -> str:
    """A message as JSON without line breaks."""
    parts = {
        "vertexes": [_vertex(vertex) for vertex in status.vertexes],
        "statuses": [_status(entry) for entry in status.statuses],
        "logs": [_log(log) for log in status.logs],
        "warnings": [warning_fields(warning) for warning in status.warnings],
    }
    return json.dumps(_filled(parts), separators=(",", ":"))


def _vertex(vertex: Vertex) -> dict[str, Any]:
    group = vertex.group
    return _filled(
        {
            "digest": vertex.digest,
            "inputs": list(vertex.inputs),
            "name": vertex.name,
            "started": _time(vertex.started),
            "completed": _time(vertex.completed),
            "cached": vertex.cached,
            "error": vertex.error,
            "progressGroup": group and _filled({"id": group.id, "name": group.name, "weak": group.weak}),
        }
    )


def _status(status: VertexStatus) -> dict[str, Any]:
    return {
        "id": status.id,
        **_filled({"vertex": status.vertex, "name": status.name, "total": status.total}),
        "current": status.current,
        "timestamp": _time(status.timestamp or 0.0),
        **_filled({"started": _time(status.started), "completed": _time(status.completed)}),
    }


def _log(log: VertexLog) -> dict[str, Any]:
    return {
        **_filled({"vertex": log.vertex, "stream": log.stream}),
        "data": _encoded(log.data),
        "timestamp": _time(log.timestamp or 0.0),
    }


def warning_fields(warning: VertexWarning) -> dict[str, Any]:
    """A finding as Go writes it; the whole file is in it."""
    source = {"filename": warning.filename, "data": _encoded(warning.source), "language": warning.language}
    return _filled(
        {
            "vertex": warning.vertex,
            "level": warning.level,
            "short": _encoded(warning.short.encode()),
            "detail": [_encoded(detail.encode()) for detail in warning.detail],
            "url": warning.url,
            "sourceInfo": _filled(source),
            "range": [{"start": {"line": first}, "end": {"line": last}} for first, last in warning.ranges],
        }
    )


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Without empty values, which Go leaves out."""
    return {name: value for name, value in fields.items() if value}


def _time(seconds: float | None) -> str:
    """RFC 3339 in UTC, the decimals as short as they can be; a float of today's epoch holds microseconds."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    decimals = f".{moment.microsecond:06d}".rstrip("0").rstrip(".") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{decimals}Z"
