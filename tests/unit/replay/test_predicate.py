"""Reading provenance."""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.replay.predicate import MOST_MATERIALS, SLSA_02, SLSA_1, DeclaredInput, parse_predicate
from tests.unit.replay.provenance import COMMIT, FILE_DIGEST, TAR, make_document, make_predicate


def test_version_1() -> None:
    secrets = [{"id": "token"}, {"id": "npm", "optional": True}, {"id": "npm"}]
    found = make_predicate(args={"target": "app", "attest:sbom": ""}, secrets=secrets, locals=[{"name": "context"}])
    assert (found.source.uri, found.source.digest, found.path) == (TAR, FILE_DIGEST, "Dockerfile")
    assert found.attributes == {"target": "app"}
    assert found.secrets == (DeclaredInput(id="token"), DeclaredInput(id="npm"))
    assert found.locals == ("context",)
    assert [one.uri for one in found.materials] == ["pkg:docker/alpine@3.22?platform=linux%2Famd64", TAR]
    assert (found.builder_platform, found.has_steps) == (Platform("linux", "amd64"), True)


def test_version_02_has_the_same_meaning() -> None:
    new = make_document(args={"target": "app"})["buildDefinition"]
    source = new["externalParameters"]["configSource"]
    old = {
        "invocation": {
            "configSource": {"uri": source["uri"], "digest": source["digest"], "entryPoint": source["path"]},
            "parameters": new["externalParameters"]["request"],
            "environment": {"platform": "linux/amd64"},
        },
        "buildConfig": new["internalParameters"]["buildConfig"],
        "materials": new["resolvedDependencies"],
    }
    assert parse_predicate(old, SLSA_02, source="") == make_predicate(args={"target": "app"})


def test_the_platform_of_older_provenance_is_that_of_its_steps() -> None:
    def make_step(platform: str) -> dict[str, Any]:
        return {"op": {"Op": {"exec": {"meta": {"env": ["A=b", f"TARGETPLATFORM={platform}"]}}}}}

    same = make_predicate(steps=[make_step("linux/arm64"), make_step("linux/arm64"), {"op": {"Op": {"file": {}}}}])
    assert same.target_platform == Platform("linux", "arm64")
    assert make_predicate(steps=[make_step("linux/arm64"), make_step("linux/amd64")]).target_platform is None


def test_a_git_commit_is_a_digest() -> None:
    assert make_predicate(digest=f"sha1:{COMMIT}").source.digest == f"sha1:{COMMIT}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": {"target": 1}}, "expected a text, got int"),
        ({"args": ["a"]}, "expected an object, got list"),
        ({"secrets": {"id": "x"}}, "expected a list, got dict"),
        ({"materials": [{"uri": "x"}] * (MOST_MATERIALS + 1)}, "more than 4096"),
        ({"digest": "sha256:../../etc/passwd"}, "is not a digest"),
    ],
)
def test_a_malformed_document_is_one_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_predicate(**change)
    assert "\n" not in str(caught.value)


def test_other_statements_are_rejected() -> None:
    with pytest.raises(InputError, match="unsupported predicate type 'https://spdx"):
        parse_predicate({}, "https://spdx.dev/Document", source="")
    with pytest.raises(InputError, match="expected an object"):
        parse_predicate([], SLSA_1, source="")
