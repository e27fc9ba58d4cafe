"""Records for tests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ci_buildx.buildkit.history import BuildRecord, Moment, NumberedBlob, RecordBlob, RecordResult
from ci_buildx.history.records import PlacedRecord

BEGIN = 1_796_032_800
"""2026-11-30T10:00:00Z minus an hour, in seconds since the epoch."""
PROVENANCE = {
    "buildDefinition": {
        "resolvedDependencies": [{"uri": "pkg:docker/alpine@3", "digest": {"sha256": "a" * 64}}, {"uri": "git"}]
    }
}
SPAN = {
    "Name": "moby.buildkit.v1.Control/Solve",
    "SpanContext": {"TraceID": "a" * 32, "SpanID": "b" * 16, "TraceFlags": "01"},
    "Parent": {"TraceID": "0" * 32, "SpanID": "0" * 16, "TraceFlags": "00"},
    "SpanKind": 2,
    "StartTime": "2026-11-30T10:00:00.000000001Z",
    "EndTime": "2026-11-30T11:00:01.5+01:00",
    "Attributes": [
        {"Key": "rpc.system", "Value": {"Type": "STRING", "Value": "grpc"}},
        {"Key": "token", "Value": {"Type": "STRING", "Value": "type=gha,token=abcdef123456"}},
        {"Key": "sizes", "Value": {"Type": "INT64SLICE", "Value": [1, 2]}},
        {"Key": "code", "Value": {"Type": "INT64", "Value": 0}},
    ],
    "Events": [{"Name": "sent", "Attributes": [], "DroppedAttributeCount": 1, "Time": "2026-11-30T10:00:00Z"}],
    "Links": None,
    "Status": {"Code": "Error", "Description": "no"},
    "Resource": [{"Key": "service.name", "Value": {"Type": "STRING", "Value": "buildkitd"}}],
    "InstrumentationLibrary": {"Name": "otelgrpc", "Version": "0.6"},
}


class MemoryBlobs:
    """Blobs by digest."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def add(self, content: bytes, media_type: str, **annotations: str) -> RecordBlob:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.content[digest] = content
        return RecordBlob(media_type=media_type, digest=digest, size=len(content), annotations=annotations)

    def has(self, digest: str) -> bool:
        return digest in self.content

    def read(self, digest: str) -> bytes:
        return self.content[digest]

    def read_pieces(self, digest: str) -> Any:
        content = self.content[digest]
        return (content[start : start + 7] for start in range(0, len(content), 7))


def make_record(ref: str = "ref", *, begin: int = BEGIN, seconds: float | None = 2.5, **fields: Any) -> BuildRecord:
    """A build that began at ``begin`` and took ``seconds``; None for one that runs."""
    end = None if seconds is None else Moment(seconds=begin + int(seconds), nanos=round(seconds % 1 * 1e9))
    return BuildRecord(ref=ref, created_at=Moment(seconds=begin), completed_at=end, **fields)


def place(record: BuildRecord, *, pod: str = "kube0-0", now: int | None = None) -> PlacedRecord:
    return PlacedRecord(record=record, builder="kube", node="kube0", pod=pod, now=now)


def make_full_record(blobs: MemoryBlobs, ref: str = "whole") -> BuildRecord:
    """A record with everything that a record can have."""
    predicate = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
    provenance = blobs.add(json.dumps(PROVENANCE).encode(), "application/vnd.in-toto+json", **predicate)
    manifest = blobs.add(b"{}", "application/vnd.oci.image.manifest.v1+json")
    entry = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": 2,
        "platform": {"os": "linux", "architecture": "arm64"},
    }
    index = blobs.add(json.dumps({"manifests": [entry]}).encode(), "application/vnd.oci.image.index.v1+json")
    return make_record(
        ref,
        frontend="dockerfile.v0",
        frontend_attrs={
            "build-arg:API_TOKEN": "secret-value-1",
            "build-arg:VERSION": "3",
            "cache-imports": '[{"Type":"gha","Attrs":{"scope":"s","token":"cache-secret"}}]',
            "filename": "Dockerfile",
            "label:team": "a",
            "multi-platform": "true",
            "no-cache": "",
            "platform": "linux/amd64,linux/arm64",
            "vcs:source": "https://host.example/team/app.git",
            "vcs:revision": "abc",
            "custom": "value",
            "frontend.caps": "hidden",
        },
        logs=blobs.add(b"log", "application/vnd.buildkit.status.v0"),
        trace=blobs.add(f"{json.dumps(SPAN)}\n{json.dumps(SPAN)}\n".encode(), "application/vnd.buildkit.otlp.json.v0"),
        result=RecordResult(attestations=(provenance,), results=(NumberedBlob(key=0, value=index),)),
        results={"linux/arm64": RecordResult(attestations=(provenance,))},
        total_steps=8,
        completed_steps=8,
        cached_steps=2,
    )
