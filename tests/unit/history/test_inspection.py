"""What an inspection shows of a record's attributes and attachments."""

import base64
import json
from typing import Any

import pytest

from ci_buildx.buildkit.history import BuildRecord
from ci_buildx.buildkit.messages import RpcStatus
from ci_buildx.errors import BuildkitError
from ci_buildx.gotemplate.encoding import encode
from ci_buildx.history.attachments import choose_attachment, list_attachments, read_materials
from ci_buildx.history.inspection import FailureExtract, RecordInspection
from ci_buildx.history.records import format_time
from tests.unit.history.records import MemoryBlobs, make_full_record, make_record, place


def inspect(record: BuildRecord, blobs: MemoryBlobs | None = None, failure: FailureExtract | None = None) -> Any:
    blobs = blobs or MemoryBlobs()
    attachments = list_attachments(record, blobs)
    value = RecordInspection(
        place(record),
        attachments=attachments,
        materials=read_materials(attachments, blobs),
        failure=failure,
        show_time=format_time,
    ).make_value()
    return json.loads(encode(value))


def test_all_that_a_record_has() -> None:
    blobs = MemoryBlobs()
    found = inspect(make_full_record(blobs), blobs)
    attachments = found.pop("Attachments")
    assert found == {
        "Name": "https://host.example/team/app.git",
        "Ref": "whole",
        "Dockerfile": "Dockerfile",
        "VCSRepository": "https://host.example/team/app.git",
        "VCSRevision": "abc",
        "Platform": ["linux/amd64", "linux/arm64"],
        "StartedAt": "2026-11-30T10:00:00Z",
        "CompletedAt": "2026-11-30T10:00:02.5Z",
        "Duration": 2_500_000_000,
        "Status": "completed",
        "NumCompletedSteps": 8,
        "NumTotalSteps": 8,
        "NumCachedSteps": 2,
        "BuildArgs": [{"Name": "API_TOKEN", "Value": "***"}, {"Name": "VERSION", "Value": "3"}],
        "Labels": [{"Name": "team", "Value": "a"}],
        "Config": {
            "MultiPlatform": True,
            "NoCache": True,
            "RestRaw": [
                {"Name": "cache-imports", "Value": '[{"Type":"gha","Attrs":{"scope":"s"}}]'},
                {"Name": "custom", "Value": "value"},
            ],
        },
        "Materials": [{"URI": "pkg:docker/alpine@3", "Digests": [f"sha256:{'a' * 64}"]}, {"URI": "git"}],
    }
    assert [(one.get("Platform", ""), one["Type"]) for one in attachments] == [
        ("", "application/vnd.oci.image.index.v1+json"),
        ("", "https://slsa.dev/provenance/v1"),
        ("linux/arm64", "application/vnd.oci.image.manifest.v1+json"),
        ("linux/arm64", "https://slsa.dev/provenance/v1"),
    ]


def test_a_failed_build() -> None:
    record = make_record(
        error=RpcStatus(code=2, message="exit code: 1 with secret-value-1"),
        frontend_attrs={"build-arg:API_TOKEN": "secret-value-1", "no-cache": "a,b", "add-hosts": '"a=1,2",b=3'},
    )
    found = inspect(record, failure=FailureExtract(name="[1/2] RUN x", logs=("one secret-value-1",), sources="D:1\n"))
    assert found["Status"] == "failed"
    assert found["Error"] == {
        "Code": 2,
        "Message": "exit code: 1 with ***",
        "Name": "[1/2] RUN x",
        "Logs": ["one ***"],
        "Sources": base64.b64encode(b"D:1\n").decode(),
    }
    assert found["Config"] == {"NoCacheFilter": ["a", "b"], "ExtraHosts": ["a=1,2", "b=3"]}
    assert inspect(make_record(error=RpcStatus(code=1, message="stopped")))["Status"] == "canceled"
    assert inspect(make_record(seconds=None))["Status"] == "running"


def test_secrets_that_are_too_short_to_search_for() -> None:
    attrs = {"build-arg:PASSWORD": "ab", "build-arg:EMPTY_TOKEN": "", "cache-imports": "nonsense"}
    found = inspect(make_record(frontend_attrs=attrs))
    assert found["BuildArgs"] == [{"Name": "EMPTY_TOKEN"}, {"Name": "PASSWORD", "Value": "***"}]
    assert found["Config"] == {"RestRaw": [{"Name": "cache-imports"}]}


def test_what_cannot_be_parsed_is_reported() -> None:
    found = inspect(make_record(frontend_attrs={"multi-platform": "maybe", "platform": "nonsense/x/y/z/w"}))
    assert [text.partition(":")[0] for text in found["Errors"]] == [
        "failed to parse nonsense/x/y/z/w",
        "failed to parse maybe",
    ]


def test_the_attachment_of_a_type_and_a_platform() -> None:
    blobs = MemoryBlobs()
    found = list_attachments(make_full_record(blobs), blobs)
    assert choose_attachment(found, wanted="provenance", platform="linux/arm64") == found[3]
    assert choose_attachment(found, wanted="index", platform="") == found[0]
    assert choose_attachment(found, wanted="application/vnd.oci.image.manifest.v1+json", platform="") == found[2]
    assert choose_attachment(found, wanted="sbom", platform="") is None


def test_malformed_blobs() -> None:
    blobs = MemoryBlobs()
    record = make_full_record(blobs)
    assert record.result is not None
    blobs.content = dict.fromkeys(blobs.content, b"[")
    found = list_attachments(record, blobs)
    assert len(found) == 3
    with pytest.raises(BuildkitError, match="is malformed"):
        read_materials(found, blobs)
