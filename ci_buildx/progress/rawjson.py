"""Progress for programs: one JSON object per line, as ``buildx build --progress rawjson`` writes them.

Names and formats are those of ``client.SolveStatus`` (BuildKit 0.34.2, ``client/graph.go``) as Go's encoding/json
writes it: bytes in base64, times in RFC 3339 with up to nine decimals, empty values omitted.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet


class RawJsonLog:
    """Writes each status message immediately."""

    period: float | None = None

    def __init__(self, outlet: TextOutlet) -> None:
        self._outlet = outlet

    def take(self, update: RendererUpdate) -> None:
        """Write a message as one line; skip empty ones."""
        if update.status == StatusUpdate():
            return
        self._outlet.write(encode_status(update.status) + "\n")

    def refresh(self, now: float) -> None:
        """Do nothing: all output has already been written."""

    def warn(self, text: str) -> None:
        """Write a warning of our own as a check's finding that belongs to no step."""
        self._outlet.write(
            encode_status(StatusUpdate(warnings=(VertexWarning(vertex="", level=1, short=text),))) + "\n"
        )

    def close(self, graph: StepGraph, now: float, *, excerpt: str) -> None:
        """Do nothing: the failed step already carries its error."""


def encode_status(status: StatusUpdate) -> str:
    """Return a message as JSON without line breaks."""
    parts = {
        "vertexes": [_encode_vertex(vertex) for vertex in status.vertexes],
        "statuses": [_encode_vertex_status(entry) for entry in status.statuses],
        "logs": [_encode_log(log) for log in status.logs],
        "warnings": [make_warning_fields(warning) for warning in status.warnings],
    }
    return json.dumps(_drop_empty(parts), separators=(",", ":"))


def _encode_vertex(vertex: Vertex) -> dict[str, Any]:
    group = vertex.group
    return _drop_empty(
        {
            "digest": vertex.digest,
            "inputs": list(vertex.inputs),
            "name": vertex.name,
            "started": _format_time(vertex.started),
            "completed": _format_time(vertex.completed),
            "cached": vertex.cached,
            "error": vertex.error,
            "progressGroup": group and _drop_empty({"id": group.id, "name": group.name, "weak": group.weak}),
        }
    )


def _encode_vertex_status(status: VertexStatus) -> dict[str, Any]:
    return {
        "id": status.id,
        **_drop_empty({"vertex": status.vertex, "name": status.name, "total": status.total}),
        "current": status.current,
        "timestamp": _format_time(status.timestamp or 0.0),
        **_drop_empty({"started": _format_time(status.started), "completed": _format_time(status.completed)}),
    }


def _encode_log(log: VertexLog) -> dict[str, Any]:
    return {
        **_drop_empty({"vertex": log.vertex, "stream": log.stream}),
        "data": _encode_data(log.data),
        "timestamp": _format_time(log.timestamp or 0.0),
    }


def make_warning_fields(warning: VertexWarning) -> dict[str, Any]:
    """Return a finding as Go writes it, including the whole source file."""
    source = {"filename": warning.filename, "data": _encode_data(warning.source), "language": warning.language}
    return _drop_empty(
        {
            "vertex": warning.vertex,
            "level": warning.level,
            "short": _encode_data(warning.short.encode(errors="replace")),
            "detail": [_encode_data(detail.encode(errors="replace")) for detail in warning.detail],
            "url": warning.url,
            "sourceInfo": _drop_empty(source),
            "range": [{"start": {"line": first}, "end": {"line": last}} for first, last in warning.ranges],
        }
    )


def _encode_data(data: bytes) -> str:
    return b64encode(data).decode()


def _drop_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Return ``fields`` without empty values, which Go omits."""
    return {name: value for name, value in fields.items() if value}


def _format_time(seconds: float | None) -> str:
    """Return the time in RFC 3339, UTC, with as few decimals as needed; a float's precision is microseconds."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    decimals = f".{moment.microsecond:06d}".rstrip("0").rstrip(".") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{decimals}Z"
