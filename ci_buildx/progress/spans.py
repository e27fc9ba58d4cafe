"""The spans of a build for a trace: one for each of our own phases and one for each vertex, and their JSON in OTLP.

Source: opentelemetry-proto 1.x, ``trace/v1/trace.proto``, ``collector/trace/v1/trace_service.proto``, and
``docs/specification.md`` (JSON Protobuf encoding: ids in hex, 64-bit integers as text). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ci_buildx.model.record import dataclass, field
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.step import BuildStep, strip_control_characters

Attributes = Mapping[str, str | bool | int]

SCOPE = "kube-builder"
_INTERNAL = 1
"""``SPAN_KIND_INTERNAL``"""
_OK, _ERROR = 1, 2
"""``STATUS_CODE_OK`` and ``STATUS_CODE_ERROR``"""
_PREFIX = "[internal] "


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """A span by our clock, in seconds since the epoch. ``error`` is "" on success.

    ``id`` and ``parent`` are 16 hex digits; ``parent`` "" makes it a root.
    """

    id: str
    parent: str
    name: str
    begin: float
    end: float
    attributes: Attributes = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTrace:
    """The spans of one build; ``state`` is the caller's ``tracestate``, ``resource`` describes this process."""

    id: str
    spans: Sequence[TraceSpan]
    version: str
    resource: Attributes
    state: str = ""


def list_step_spans(
    graph: StepGraph, *, now: float, parent: str, phases: str, make_id: Callable[[], str]
) -> Iterator[TraceSpan]:
    """Yield a span for each step that has started; what still runs ends ``now``.

    Vertexes are below ``parent``, our own displayed phases below ``phases``.
    """
    for step in graph.steps:
        if not step.started or step.hidden:
            continue
        begin = min(step.intervals) + step.skew
        end = max(now if one is None else one + step.skew for one in step.intervals.values())
        yield TraceSpan(
            id=make_id(),
            parent=phases if step.ours else parent,
            name=strip_control_characters(step.name.removeprefix(_PREFIX) if step.ours else step.name),
            begin=begin,
            end=max(begin, end),
            attributes={} if step.ours else _describe_vertex(step),
            error=strip_control_characters(step.error.partition("\n")[0]),
        )


def _describe_vertex(step: BuildStep) -> dict[str, str | bool | int]:
    node, digest = step.key
    found: dict[str, str | bool | int] = {"buildkit.vertex.digest": digest, "buildkit.vertex.cached": step.cached}
    if len(step.intervals) > 1:
        found["buildkit.vertex.runs"] = len(step.intervals)
    return found | ({"kube_builder.node": node} if node else {})


def encode_trace(trace: BuildTrace) -> dict[str, Any]:
    """Return the trace as an ExportTraceServiceRequest in JSON."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": encode_attributes(trace.resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": SCOPE, "version": trace.version},
                        "spans": [_encode_span(span, trace) for span in trace.spans],
                    }
                ],
            }
        ]
    }


def encode_attributes(attributes: Attributes) -> list[dict[str, Any]]:
    """Return attributes in OTLP's JSON."""
    return [{"key": key, "value": _encode_value(value)} for key, value in attributes.items()]


def _encode_value(value: str | bool | int) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _encode_span(span: TraceSpan, trace: BuildTrace) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "traceId": trace.id,
        "spanId": span.id,
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(round(span.begin * 1e9)),
        "endTimeUnixNano": str(round(span.end * 1e9)),
        "attributes": encode_attributes(span.attributes),
        "status": {"code": _ERROR, "message": span.error} if span.error else {"code": _OK},
    }
    if span.parent:
        encoded["parentSpanId"] = span.parent
    if trace.state:
        encoded["traceState"] = trace.state
    return encoded
