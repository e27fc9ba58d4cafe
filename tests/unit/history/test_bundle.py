"""Archives of records, and the traces in them."""

import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from ci_buildx.errors import BuildkitError
from ci_buildx.history.bundle import ExportedRecord, RecordBundle, split_documents
from ci_buildx.history.traces import make_jaeger_document, make_otlp_document
from ci_buildx.model.record import replace
from tests.unit.history.records import SPAN, MemoryBlobs, make_full_record, make_record


def export(*records: ExportedRecord) -> dict[str, bytes]:
    """The files of an archive, by name."""
    stream = io.BytesIO()
    RecordBundle().write(records, stream)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(stream.getvalue()))) as archive:
        members = archive.getmembers()
        assert [one.name for one in members] == sorted(one.name for one in members)
        return {one.name: archive.extractfile(one).read() for one in members if one.isfile()}  # type: ignore[union-attr]


def read(files: dict[str, bytes], descriptor: dict[str, Any]) -> Any:
    content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert len(content) == descriptor["size"]
    return json.loads(content)


def test_the_archive_of_one_record() -> None:
    blobs = MemoryBlobs()
    record = make_full_record(blobs)
    files = export(ExportedRecord(record=record, source=blobs, platform="linux/amd64"))
    assert files["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    (top,) = json.loads(files["index.json"])["manifests"]
    manifest = read(files, top)
    assert manifest["config"]["mediaType"] == "application/vnd.buildkit.historyrecord.v0"
    assert [one["mediaType"] for one in manifest["layers"]] == [
        "application/vnd.buildkit.otlp.json.v0",
        "application/vnd.buildkit.status.v0",
        "application/vnd.in-toto+json",
        "application/json",
    ]
    original = {"vnd.export-build.descriptor.mediatype": "application/vnd.oci.image.index.v1+json"}
    assert manifest["layers"][3]["annotations"] == original
    config = read(files, manifest["config"])
    assert config["CreatedAt"] == {"seconds": record.created_at and record.created_at.seconds}
    assert config["CompletedAt"]["nanos"] == 500_000_000
    assert config["FrontendAttrs"]["cache-imports"] == '[{"Type":"gha","Attrs":{"scope":"s"}}]'
    assert config["DefaultPlatform"] == "linux/amd64"
    assert config["Result"]["Results"]["0"]["digest"] == manifest["layers"][3]["digest"]
    assert config["trace"]["digest"] == manifest["layers"][0]["digest"]
    assert b"abcdef123456" not in b"".join(files.values())
    # The image below the index is not part of the archive.
    assert len([name for name in files if name.startswith("blobs/")]) == 6


def test_several_records_are_an_index() -> None:
    blobs = MemoryBlobs()
    pair = [ExportedRecord(record=make_record(name), source=blobs) for name in ("a", "b")]
    files = export(*pair)
    (top,) = json.loads(files["index.json"])["manifests"]
    entries = read(files, top)["manifests"]
    assert [one["annotations"] for one in entries] == [
        {"vnd.buildkit.history.reference": "a"},
        {"vnd.buildkit.history.reference": "b"},
    ]
    assert [read(files, read(files, one)["config"])["Ref"] for one in entries] == ["a", "b"]


def test_missing_and_wrong_blobs() -> None:
    blobs = MemoryBlobs()
    record = make_full_record(blobs)
    assert record.logs is not None
    with pytest.raises(BuildkitError, match="is larger than its record says"):
        export(ExportedRecord(record=replace(record, logs=replace(record.logs, size=2)), source=blobs))
    del blobs.content[record.logs.digest]
    with pytest.raises(BuildkitError, match="of record whole is missing"):
        export(ExportedRecord(record=record, source=blobs))


def test_spans_follow_each_other_in_a_blob() -> None:
    assert list(split_documents(b' {"a": 1}\n\n{"b":2} \n')) == [{"a": 1}, {"b": 2}]
    assert list(split_documents(b" \n")) == []
    for text in (b'{"a"', b"[" * 100_000):
        with pytest.raises(BuildkitError, match="trace is malformed"):
            list(split_documents(text))


def test_the_trace_for_jaeger() -> None:
    (trace,) = make_jaeger_document(json.dumps(SPAN).encode())["data"]
    assert trace["processes"] == {"p0": {"serviceName": "buildkitd", "tags": None}}
    (span,) = trace["spans"]
    assert span["references"] == [{"refType": "CHILD_OF", "traceID": "0" * 32, "spanID": "0" * 16}]
    assert (span["startTime"], span["duration"]) == (1_796_032_800_000_000, 1_499_999)
    assert {one["key"]: one["value"] for one in span["tags"]} == {
        "rpc.system": "grpc",
        "token": "type=gha,token=abcdef123456",
        "sizes": "[1,2]",
        "code": 0,
        "otel.library.name": "otelgrpc",
        "otel.library.version": "0.6",
        "span.kind": "server",
        "error": True,
        "otel.status_code": "ERROR",
        "otel.status_description": "no",
    }
    (event,) = span["logs"]
    assert [one["key"] for one in event["fields"]] == ["event", "otel.event.dropped_attributes_count"]


def test_the_trace_as_otlp() -> None:
    (group,) = make_otlp_document(f"{json.dumps(SPAN)}\n{json.dumps(SPAN)}".encode())["resourceSpans"]
    assert group["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "buildkitd"}}]
    first, second = (one["spans"][0] for one in group["scopeSpans"])
    assert first == second
    assert first["parentSpanId"] == ""
    assert first["startTimeUnixNano"] == "1796032800000000001"
    assert first["kind"] == 2
    assert first["status"] == {"code": 2, "message": "no"}
    assert first["attributes"][2]["value"] == {"arrayValue": {"values": [{"intValue": "1"}, {"intValue": "2"}]}}


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"Name": "x"}', b'{"StartTime": "2026"}'])
def test_malformed_traces(body: bytes) -> None:
    for make in (make_jaeger_document, make_otlp_document):
        with pytest.raises(BuildkitError, match="trace"):
            make(body)
