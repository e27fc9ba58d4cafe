"""Provenance in the metadata file: which attestations of a record are read, and their form."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from ci_buildx.build.provenance import convert_predicate, read_predicate, read_provenance
from ci_buildx.buildkit.history import (
    BuildHistory,
    BuildRecord,
    HistoryEvent,
    HistoryListing,
    HistoryRequest,
    RecordBlob,
    RecordResult,
)
from ci_buildx.errors import BuildkitError
from ci_buildx.settings.values import MetadataProvenance

PREDICATE = {
    "buildDefinition": {
        "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
        "resolvedDependencies": [{"uri": "pkg:docker/busybox@latest", "digest": {"sha256": "a"}}],
        "externalParameters": {
            "configSource": {"path": "Dockerfile"},
            "request": {"frontend": "dockerfile.v0", "args": {"build-arg:TOKEN": "hush-hush"}},
        },
        "internalParameters": {
            "buildConfig": {"llbDefinition": []},
            "builderPlatform": "linux/amd64",
            "targetPlatform": "linux/arm64",
            "github_ref": "refs/heads/main",
        },
    },
    "runDetails": {
        "builder": {"id": "x"},
        "metadata": {
            "invocationID": "i",
            "startedOn": "s",
            "finishedOn": "f",
            "buildkit_metadata": {"vcs": {"revision": "r"}},
            "buildkit_hermetic": True,
            "buildkit_completeness": {"request": True, "resolvedDependencies": False},
        },
    },
}
BODY = json.dumps(PREDICATE).encode()
V1, V02 = "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"


def test_conversion() -> None:
    assert convert_predicate(PREDICATE) == {
        "builder": {"id": "x"},
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": [{"uri": "pkg:docker/busybox@latest", "digest": {"sha256": "a"}}],
        "invocation": {
            "configSource": {"entryPoint": "Dockerfile"},
            "parameters": {"frontend": "dockerfile.v0", "args": {"build-arg:TOKEN": "hush-hush"}},
            "environment": {"platform": "linux/amd64", "github_ref": "refs/heads/main"},
        },
        "buildConfig": {"llbDefinition": []},
        "metadata": {
            "buildInvocationID": "i",
            "buildStartedOn": "s",
            "buildFinishedOn": "f",
            "completeness": {"parameters": True, "environment": True, "materials": False},
            "reproducible": False,
            "https://mobyproject.org/buildkit@v1#metadata": {"vcs": {"revision": "r"}},
            "https://mobyproject.org/buildkit@v1#hermetic": True,
        },
    }


def test_modes() -> None:
    assert "metadata" in read_predicate(BODY, V1, MetadataProvenance.MAX)
    assert {*read_predicate(BODY, V1, MetadataProvenance.MIN)} == {"builder", "buildType", "materials", "invocation"}
    assert read_predicate(b'{"metadata": {}, "x": 1}', V02, MetadataProvenance.MIN) == {"x": 1}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"buildDefinition": [1]}', b'{"runDetails": {"builder": "x"}}'])
def test_malformed(body: bytes) -> None:
    with pytest.raises(BuildkitError, match="malformed provenance"):
        read_predicate(body, V1, MetadataProvenance.MAX)


class History:
    """Records of one build, whose blobs all hold one predicate."""

    def __init__(self, *records: BuildRecord) -> None:
        self.records = records

    def list_records(self, request: HistoryRequest, timeout: float) -> HistoryListing:
        assert (request.ref, request.early_exit) == ("r1", True)
        return HistoryListing(events=tuple(HistoryEvent(type=1, record=one) for one in self.records), clock="")

    def read_blob(self, digest: str) -> bytes:
        assert digest == "sha256:p"
        return BODY


def make_result(*, media_type: str = "application/vnd.in-toto+json", predicate: str = V1) -> RecordResult:
    sbom = RecordBlob(media_type="application/vnd.in-toto+json", digest="sha256:s")
    noted = {"in-toto.io/predicate-type": predicate}
    return RecordResult(attestations=(sbom, RecordBlob(media_type=media_type, digest="sha256:p", annotations=noted)))


def read(*records: BuildRecord) -> dict[str, Any]:
    history = cast("BuildHistory", History(*records))
    found = read_provenance(history, "r1", MetadataProvenance.MAX, lambda text: text.replace("hush-hush", "***"))
    return {key: json.loads(base64.b64decode(text)) for key, text in found.items()}


def test_one_platform_has_no_name_and_several_have_theirs() -> None:
    assert [*read(BuildRecord(result=make_result()))] == ["buildx.build.provenance"]
    several = BuildRecord(results={"linux/amd64": make_result(), "linux/arm64": make_result()}, result=make_result())
    assert [*read(several)] == ["buildx.build.provenance/linux/amd64", "buildx.build.provenance/linux/arm64"]


def test_secrets_are_masked() -> None:
    (found,) = read(BuildRecord(result=make_result())).values()
    assert found["invocation"]["parameters"]["args"] == {"build-arg:TOKEN": "***"}


def test_other_attestations_are_none() -> None:
    assert read(BuildRecord(result=make_result(predicate="https://spdx.dev/Document"))) == {}
    assert read(BuildRecord(result=make_result(media_type="text/plain"))) == {}
    assert read(BuildRecord()) == read() == {}
