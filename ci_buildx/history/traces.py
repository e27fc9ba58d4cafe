"""The trace of a record: BuildKit's spans as JSON that Jaeger's user interface reads, and as OTLP.

Source: BuildKit 0.34.2, ``solver/llbsolver/history.go`` (spans of OpenTelemetry's Go SDK, one JSON document each);
buildx 0.38.2, ``util/otelutil`` (their JSON, and the conversion for Jaeger).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ci_buildx.errors import BuildkitError
from ci_buildx.history.bundle import split_documents
from ci_buildx.history.records import parse_time

_KINDS = ("", "internal", "server", "client", "producer", "consumer")
"""Names of a span's kind, whose numbers count from 1 (OpenTelemetry Go, ``trace/span.go``)."""
_INTERNAL = 1
_STATES = {"Ok": 1, "2": 1, "Error": 2, "1": 2}
"""OTLP's status codes by those of OpenTelemetry Go (``codes/codes.go``), which writes numbers or names."""
_LISTS = ("BOOLSLICE", "INT64SLICE", "FLOAT64SLICE", "STRINGSLICE")
_SCALARS = {"STRING": "string", "BOOL": "bool", "INT64": "int64", "FLOAT64": "float64"}
_SERVICE = "service.name"


def make_jaeger_document(body: bytes) -> dict[str, Any]:
    """Return a record's trace in the form that Jaeger's user interface imports. Raises BuildkitError."""
    spans = _read_spans(body)
    return {
        "data": [
            {
                "traceID": _read_context(spans[0], "SpanContext")[0],
                "spans": [_convert_span(span, f"p{number}") for number, span in enumerate(spans)],
                "processes": {f"p{number}": _convert_process(span) for number, span in enumerate(spans)},
                "warnings": None,
            }
        ]
    }


def _read_spans(body: bytes) -> list[Mapping[str, Any]]:
    spans: list[Mapping[str, Any]] = [one for one in split_documents(body) if isinstance(one, dict)]
    if not spans:
        raise BuildkitError("the record's trace has no spans")
    return spans


def _convert_span(span: Mapping[str, Any], process: str) -> dict[str, Any]:
    trace, own = _read_context(span, "SpanContext")
    begin, end = _read_time(span, "StartTime"), _read_time(span, "EndTime")
    flags = _read_mapping(span, "SpanContext").get("TraceFlags", "")
    parent_trace, parent = _read_context(span, "Parent")
    links = [_read_context(link, "SpanContext") for link in _list_mappings(span, "Links")]
    references = [{"refType": "FOLLOWS_FROM", "traceID": one, "spanID": other} for one, other in links]
    references.append({"refType": "CHILD_OF", "traceID": parent_trace, "spanID": parent})
    converted = {
        "traceID": trace,
        "spanID": own,
        "flags": int(flags, 16) if isinstance(flags, str) and _is_hex(flags) else 0,
        "operationName": str(span.get("Name", "")),
        "references": references,
        "startTime": begin // 1000,
        "duration": max(0, end - begin) // 1000,
        "tags": list(_list_tags(span)),
        "logs": [_convert_event(event) for event in _list_mappings(span, "Events")] or None,
        "processID": process,
        "warnings": None,
    }
    return {key: value for key, value in converted.items() if key != "flags" or value}


def _list_tags(span: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _convert_attributes(_list_mappings(span, "Attributes"))
    # Newer spans name it as InstrumentationScope, which buildx does not read.
    library = _read_mapping(span, "InstrumentationLibrary")
    if library.get("Name"):
        yield _make_text("otel.library.name", library["Name"])
        if library.get("Version"):
            yield _make_text("otel.library.version", library["Version"])
    kind = span.get("SpanKind")
    if isinstance(kind, int) and kind != _INTERNAL:
        yield _make_text("span.kind", _KINDS[kind] if 0 < kind < len(_KINDS) else "unspecified")
    status = _read_mapping(span, "Status")
    match _read_status(status):
        case 1:
            yield _make_text("otel.status_code", "OK")
        case 2:
            yield {"key": "error", "type": "bool", "value": True}
            yield _make_text("otel.status_code", "ERROR")
        case _:
            return
    if status.get("Description"):
        yield _make_text("otel.status_description", status["Description"])


def _read_status(status: Mapping[str, Any]) -> int:
    return _STATES.get(str(status.get("Code")), 0)


def _convert_event(event: Mapping[str, Any]) -> dict[str, Any]:
    fields = [_make_text("event", event["Name"])] if event.get("Name") else []
    fields += _convert_attributes(_list_mappings(event, "Attributes"))
    if dropped := event.get("DroppedAttributeCount"):
        fields.append({"key": "otel.event.dropped_attributes_count", "type": "int64", "value": dropped})
    return {"timestamp": _read_time(event, "Time") // 1000, "fields": fields}


def _convert_process(span: Mapping[str, Any]) -> dict[str, Any]:
    attributes = _list_mappings(span, "Resource")
    names = [one["value"] for one in _convert_attributes(attributes) if one["key"] == _SERVICE]
    tags = [one for one in _convert_attributes(attributes) if one["key"] != _SERVICE]
    return {"serviceName": names[0] if names else "", "tags": tags or None}


def _convert_attributes(attributes: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in attributes:
        held = _read_mapping(one, "Value")
        kind, value = held.get("Type"), held.get("Value")
        if kind in _SCALARS:
            yield {"key": str(one.get("Key", "")), "type": _SCALARS[kind], "value": value}
        elif kind in _LISTS:
            yield _make_text(str(one.get("Key", "")), json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _make_text(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "type": "string", "value": str(value)}


def _read_context(span: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return the ids of a trace and of a span."""
    context = _read_mapping(span, name)
    return str(context.get("TraceID", "")), str(context.get("SpanID", ""))


def _read_time(span: Mapping[str, Any], name: str) -> int:
    try:
        return parse_time(str(span.get(name, "")))
    except ValueError:
        raise BuildkitError("the record's trace is malformed: a span has no time") from None


def _is_hex(text: str) -> bool:
    return bool(text) and len(text) <= 2 and all(one in "0123456789abcdef" for one in text)


def _read_mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _list_mappings(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = value.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def make_otlp_document(body: bytes) -> dict[str, Any]:
    """Return a record's trace as an ExportTraceServiceRequest in JSON. Raises BuildkitError.

    Source: OpenTelemetry's ``opentelemetry-proto`` 1.x, ``docs/specification.md`` (JSON Protobuf encoding: ids in hex,
    64-bit integers as text).
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for span in _read_spans(body):
        groups.setdefault(json.dumps(span.get("Resource"), sort_keys=True), []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": list(_list_otlp_attributes(spans[0], "Resource"))},
                "scopeSpans": [{"scope": _describe_scope(span), "spans": [_convert_otlp_span(span)]} for span in spans],
            }
            for spans in groups.values()
        ]
    }


def _describe_scope(span: Mapping[str, Any]) -> dict[str, str]:
    library = _read_mapping(span, "InstrumentationLibrary") or _read_mapping(span, "InstrumentationScope")
    return {"name": str(library.get("Name", "")), "version": str(library.get("Version", ""))}


def _convert_otlp_span(span: Mapping[str, Any]) -> dict[str, Any]:
    trace, own = _read_context(span, "SpanContext")
    _, parent = _read_context(span, "Parent")
    status = _read_mapping(span, "Status")
    kind = span.get("SpanKind")
    return {
        "traceId": trace,
        "spanId": own,
        "parentSpanId": parent.strip("0") and parent,
        "name": str(span.get("Name", "")),
        "kind": kind if isinstance(kind, int) and 0 <= kind < len(_KINDS) else 0,
        "startTimeUnixNano": str(_read_time(span, "StartTime")),
        "endTimeUnixNano": str(_read_time(span, "EndTime")),
        "attributes": list(_list_otlp_attributes(span, "Attributes")),
        "events": [
            {
                "timeUnixNano": str(_read_time(event, "Time")),
                "name": str(event.get("Name", "")),
                "attributes": list(_list_otlp_attributes(event, "Attributes")),
            }
            for event in _list_mappings(span, "Events")
        ],
        "status": {
            "code": _read_status(status),
            "message": str(status.get("Description", "")),
        },
    }


def _list_otlp_attributes(value: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for one in _list_mappings(value, name):
        held = _read_mapping(one, "Value")
        if (converted := _convert_value(held.get("Type"), held.get("Value"))) is not None:
            yield {"key": str(one.get("Key", "")), "value": converted}


def _convert_value(kind: Any, value: Any) -> dict[str, Any] | None:
    match kind:
        case "STRING":
            return {"stringValue": str(value)}
        case "BOOL":
            return {"boolValue": bool(value)}
        case "INT64":
            return {"intValue": str(value)}
        case "FLOAT64":
            return {"doubleValue": value}
        case "STRINGSLICE" | "BOOLSLICE" | "INT64SLICE" | "FLOAT64SLICE" if isinstance(value, list):
            single = kind.removesuffix("SLICE")
            return {"arrayValue": {"values": [_convert_value(single, one) for one in value]}}
    return None
