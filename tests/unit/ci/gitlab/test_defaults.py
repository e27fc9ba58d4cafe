"""What a job's own variables say where its inputs say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.ci.gitlab import inputs
from ci_buildx.settings.raw_values import RawValues

IMAGE = "registry.git.example/group/app"
MAIN = {
    "CI_REGISTRY_IMAGE": IMAGE,
    "CI_COMMIT_BRANCH": "main",
    "CI_DEFAULT_BRANCH": "main",
    "CI_COMMIT_REF_SLUG": "main",
    "CI_COMMIT_SHORT_SHA": "1ecfd275",
}
BRANCH = MAIN | {"CI_COMMIT_BRANCH": "fix/Login", "CI_COMMIT_REF_SLUG": "fix-login"}


def tagged(name: str, slug: str) -> dict[str, str]:
    given = {key: value for key, value in MAIN.items() if key != "CI_COMMIT_BRANCH"}
    return given | {"CI_COMMIT_TAG": name, "CI_COMMIT_REF_SLUG": slug}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (MAIN, [f"{IMAGE}:latest", f"{IMAGE}:1ecfd275"]),
        (BRANCH, [f"{IMAGE}:fix-login"]),
        (tagged("v1.2.3", "v1-2-3"), [f"{IMAGE}:v1.2.3"]),
        (tagged("app/1.0+meta", "app-1-0-meta"), [f"{IMAGE}:app-1-0-meta"]),
        ({"CI_REGISTRY_IMAGE": IMAGE, "CI_MERGE_REQUEST_IID": "7", "CI_COMMIT_REF_SLUG": "x"}, [f"{IMAGE}:mr-7"]),
        ({name: value for name, value in MAIN.items() if name != "CI_REGISTRY_IMAGE"}, []),
        ({}, []),
    ],
)
def test_tags_by_ref(env: dict[str, str], expected: list[str]) -> None:
    assert inputs.make_default_tags(env) == expected


def test_labels_are_ocis_and_the_users_count() -> None:
    env = {
        "CI_PROJECT_URL": "https://git.example/group/app",
        "CI_COMMIT_SHA": "1ecfd275763eff1d",
        "CI_COMMIT_TIMESTAMP": "2026-01-31T16:47:55Z",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_PROJECT_NAME": "app",
        "CI_PROJECT_TITLE": "The App",
        "CI_PROJECT_DESCRIPTION": "Two\nlines",
        "KUBE_BUILDER_LABELS": "org.opencontainers.image.title=Mine\na=b",
    }
    assert inputs.make_default_labels(inputs.read_inputs(env, Path("/"))) == [
        "org.opencontainers.image.source=https://git.example/group/app",
        "org.opencontainers.image.url=https://git.example/group/app",
        "org.opencontainers.image.revision=1ecfd275763eff1d",
        "org.opencontainers.image.created=2026-01-31T16:47:55Z",
        "org.opencontainers.image.version=main",
        "org.opencontainers.image.description=Two lines",
        "org.opencontainers.image.title=Mine",
        "a=b",
    ]


CONNECTED = {"KUBE_URL": "https://k.example", "KUBE_TOKEN": "t", "KUBE_NAMESPACE": "app-7-production"}


@pytest.mark.parametrize(
    ("env", "name", "expected"),
    [
        ({"CI_JOB_TIMEOUT": "5400"}, "lifetime", "5400s"),
        ({"CI_JOB_TIMEOUT": "5400", "KUBE_BUILDER_LIFETIME": "10m\n"}, "lifetime", "10m"),
        ({}, "lifetime", ""),
        ({"KUBE_CONTEXT": "group/agents:ci"}, "kube-context", "group/agents:ci"),
        ({"KUBE_BUILDER_ID_TOKEN": "eyJ"}, "oidc", "env:KUBE_BUILDER_ID_TOKEN"),
        (CONNECTED, "namespace", "app-7-production"),
        ({"KUBE_NAMESPACE": "where-to-deploy"}, "namespace", ""),
        ({}, "timeline", "/builds/app/kube-builder-timeline.html"),
        ({"KUBE_BUILDER_TIMELINE": "t.svg"}, "timeline", "/builds/app/t.svg"),
        ({**MAIN, "KUBE_BUILDER_TAGS": "[]\n"}, "tags", ""),
    ],
)
def test_defaults(env: dict[str, str], name: str, expected: str) -> None:
    given = inputs.fill_defaults(inputs.read_inputs(env, Path("/")), folder=Path("/builds/app"))
    if name == "tags":
        assert given.read_texts(name) == inputs.make_default_tags(env)
    else:
        assert given.read_text(name) == expected


def test_errors_name_where_a_default_came_from() -> None:
    given = inputs.fill_defaults(inputs.read_inputs({**MAIN, "CI_JOB_TIMEOUT": "60"}, Path("/")), folder=Path("/"))
    assert (given.find_source("tags"), given.find_source("lifetime")) == ("CI_REGISTRY_IMAGE", "CI_JOB_TIMEOUT")


def test_the_clean_up_finds_the_same_cluster() -> None:
    given = inputs.fill_cluster_defaults(inputs.read_inputs({**CONNECTED, "KUBE_CONTEXT": "c"}, Path("/")))
    assert (given.read_text("namespace"), given.read_text("kube-context")) == ("app-7-production", "c")


def test_an_output_by_digest_is_named_and_has_no_tag(tmp_path: Path) -> None:
    outputs = ["type=image,push-by-digest=true,push=true", "type=image,name=own,push-by-digest=true,push=true", "out"]
    given = RawValues({"outputs": outputs}, {}, MAIN, tmp_path)
    filled = inputs.fill_defaults(given, folder=tmp_path)
    assert filled.read_texts("outputs") == [f"{outputs[0]},name={IMAGE}", *outputs[1:]]
    assert filled.read_texts("tags") == []
