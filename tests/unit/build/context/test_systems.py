"""What CI systems call a job: their variables, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.build.context import origin
from ci_buildx.builder import labels
from ci_buildx.builder.identity import JobOrigin
from ci_buildx.settings import options

JENKINS = {
    "JENKINS_URL": "https://ci.example/",
    "JOB_NAME": "team/app/main",
    "JOB_BASE_NAME": "main",
    "BUILD_NUMBER": "17",
    "BUILD_URL": "https://ci.example/job/team/job/app/job/main/17/",
    "GIT_URL": "https://git.example/team/app.git",
    "WORKSPACE": "/var/jenkins/workspace/app",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "git@git.example:team/app.git",
    "BUILDKITE_BUILD_NUMBER": "17",
    "BUILDKITE_JOB_ID": "0190-aa",
    "BUILDKITE_BUILD_URL": "https://buildkite.example/team/app/builds/17",
    "BUILDKITE_BUILD_CHECKOUT_PATH": "/builds/app",
}
TEKTON = {
    "KUBE_BUILDER_CI": "tekton",
    "KUBE_BUILDER_REPOSITORY": "team/app",
    "KUBE_BUILDER_RUN": "app-run-x7k2p",
    "KUBE_BUILDER_JOB": "build",
    "KUBE_BUILDER_CHECKOUT": "/workspace/source",
}
ORIGINS = [
    (JENKINS, JobOrigin(system="jenkins", repository="team/app", run="17", job="main", url=JENKINS["BUILD_URL"])),
    (
        {name: value for name, value in JENKINS.items() if name != "GIT_URL"},
        JobOrigin(system="jenkins", repository="team/app/main", run="17", job="main", url=JENKINS["BUILD_URL"]),
    ),
    (
        BUILDKITE,
        JobOrigin(
            system="buildkite",
            repository="team/app",
            run="17",
            job="0190-aa",
            url="https://buildkite.example/team/app/builds/17",
        ),
    ),
    (TEKTON, JobOrigin(system="tekton", repository="team/app", run="app-run-x7k2p", job="build")),
    (
        {"TF_BUILD": "True", "BUILD_REPOSITORY_NAME": "app", "BUILD_BUILDID": "17", "SYSTEM_JOBID": "j"},
        JobOrigin(system="azure-pipelines", repository="app", run="17", job="j"),
    ),
    (
        {"CIRCLECI": "true", "CIRCLE_REPOSITORY_URL": "git@git.example:team/app.git", "CIRCLE_BUILD_NUM": "17"},
        JobOrigin(system="circleci", repository="team/app", job="17"),
    ),
    (
        {"BITBUCKET_REPO_FULL_NAME": "team/app", "BITBUCKET_STEP_UUID": "{s}"},
        JobOrigin(system="bitbucket", repository="team/app", job="{s}"),
    ),
    (
        {"GITHUB_REPOSITORY": "team/app", "GITHUB_RUN_ID": "9", "GITHUB_JOB": "build"},
        JobOrigin(system="github", repository="team/app", run="9", job="build"),
    ),
    (
        {
            "CI_PROJECT_PATH": "team/app",
            "CI_PIPELINE_ID": "9",
            "CI_JOB_ID": "47",
            "CI_JOB_URL": "https://git.example/47",
        },
        JobOrigin(system="gitlab", repository="team/app", run="9", job="47", url="https://git.example/47"),
    ),
    ({}, None),
    ({"CI": "true", "BUILD_NUMBER": "17", "WORKSPACE": "/w"}, None),
]


@pytest.mark.parametrize(("env", "expected"), ORIGINS, ids=lambda value: getattr(value, "system", None))
def test_origins(env: dict[str, str], expected: JobOrigin | None) -> None:
    assert origin.read_ci_origin(env) == expected


def test_what_a_task_says_itself_counts_first() -> None:
    found = origin.read_ci_origin(JENKINS | TEKTON)
    assert found is not None
    assert found.system == "tekton"
    assert origin.find_checkout(JENKINS | TEKTON) == Path("/workspace/source")


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        (JENKINS, "/var/jenkins/workspace/app"),
        (BUILDKITE, "/builds/app"),
        ({"CIRCLECI": "true", "CIRCLE_WORKING_DIRECTORY": "~no-such-user/app"}, f"{Path.cwd()}/~no-such-user/app"),
        ({}, None),
    ],
)
def test_checkouts(env: dict[str, str], folder: str | None) -> None:
    assert origin.find_checkout(env) == (Path(folder) if folder else None)


def test_a_builder_is_named_and_marked_after_the_job() -> None:
    made = origin.make_job_identity(Path("/anywhere"), JENKINS)
    assert made.name.startswith("kube-builder-app-")
    assert made.labels["kube-builder.dev/ci"] == "jenkins"
    assert made.labels["kube-builder.dev/run"] == "17"
    assert {key: value for key, value in made.annotations.items() if key != labels.NONCE} == {
        "kube-builder.dev/repository": "team/app",
        "kube-builder.dev/run-url": JENKINS["BUILD_URL"],
    }


def test_a_builder_is_for_the_trust_scope_of_the_job() -> None:
    env = {**JENKINS, origin.TRUST_SCOPE: "fork:eve/app"}
    assert origin.make_job_identity(Path("/work"), env).annotations[labels.TRUST] == "fork:eve/app"
    assert labels.TRUST not in origin.make_job_identity(Path("/work"), JENKINS).annotations


def test_an_origin_of_a_named_system_reads_its_variables_only() -> None:
    env = {"KUBE_BUILDER_REPOSITORY": "other/x", "CI_PROJECT_PATH": "team/app", "CI_JOB_ID": "5", "CI_PIPELINE_ID": "9"}
    expected = JobOrigin(system="gitlab", repository="team/app", run="9", job="5")
    assert origin.read_origin_of("gitlab", env) == expected


def test_outside_of_ci_it_is_named_after_the_context() -> None:
    assert origin.make_job_identity(Path("/src/app"), {}).annotations["kube-builder.dev/repository"] == "app"
    made = origin.make_job_identity("https://ann:hunter2@git.example/team/app.git?token=hunter2#main", {})
    assert made.annotations["kube-builder.dev/repository"] == "https://xxxxx:xxxxx@git.example/team/app.git"
    assert made.name.startswith("kube-builder-app-")


def test_no_variable_of_a_job_is_one_of_an_option() -> None:
    own = {name for system in origin.SYSTEMS for name in (*system.repository, *system.run, *system.job, *system.url)}
    assert not own & {option.variable for option in options.OPTIONS}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://git.example/team/app.git", "team/app"),
        ("https://user:secret@git.example:8443/team/app", "team/app"),
        ("git@git.example:team/app.git", "team/app"),
        ("ssh://git@git.example:2222/team/app.git", "team/app"),
        ("https://git.example", "git.example"),
    ],
)
def test_paths_of_clones(url: str, path: str) -> None:
    assert origin.read_repository_path(url) == path
