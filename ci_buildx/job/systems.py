"""What the CI systems call a job, by the variables that they give to it.

Names are those of each system's own documentation (2026): GitHub "Default environment variables", GitLab "Predefined
CI/CD variables", Jenkins "Using environment variables" and the git plugin's, Buildkite "Environment variables", Azure
Pipelines "Use predefined variables", CircleCI "Project values and variables", Bitbucket "Variables and secrets". Tekton
gives a step none: a task hands over what ``$(context.pipelineRun.name)`` says in our own variables, which count first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.builder.identity import Origin
from ci_buildx.job.repositories import path_of
from ci_buildx.model.record import dataclass

OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The variables of one system, the first that is set counts; ``repository`` may be a path or the URL of a clone.

    A job runs on a system whose ``signs`` are all set.
    """

    name: str
    signs: tuple[str, ...]
    repository: tuple[str, ...]
    run: tuple[str, ...]
    job: tuple[str, ...]
    url: tuple[str, ...]
    checkout: tuple[str, ...]


SYSTEMS = (
    System(
        name=OWN,
        signs=("KUBE_BUILDER_REPOSITORY",),
        repository=("KUBE_BUILDER_REPOSITORY",),
        run=("KUBE_BUILDER_RUN",),
        job=("KUBE_BUILDER_JOB",),
        url=("KUBE_BUILDER_RUN_URL",),
        checkout=("KUBE_BUILDER_CHECKOUT",),
    ),
    System(
        name="github",
        signs=("GITHUB_REPOSITORY",),
        repository=("GITHUB_REPOSITORY",),
        run=("GITHUB_RUN_ID",),
        job=("GITHUB_JOB",),
        url=(),
        checkout=("GITHUB_WORKSPACE",),
    ),
    System(
        name="gitlab",
        signs=("CI_PROJECT_PATH",),
        repository=("CI_PROJECT_PATH",),
        run=("CI_PIPELINE_ID",),
        job=("CI_JOB_ID",),
        url=("CI_JOB_URL",),
        checkout=("CI_PROJECT_DIR",),
    ),
    System(
        name="jenkins",
        signs=("JENKINS_URL", "JOB_NAME"),
        repository=("GIT_URL", "GIT_URL_1", "JOB_NAME"),
        run=("BUILD_NUMBER",),
        job=("JOB_BASE_NAME",),
        url=("BUILD_URL",),
        checkout=("WORKSPACE",),
    ),
    System(
        name="buildkite",
        signs=("BUILDKITE",),
        repository=("BUILDKITE_REPO", "BUILDKITE_PIPELINE_SLUG"),
        run=("BUILDKITE_BUILD_NUMBER",),
        job=("BUILDKITE_JOB_ID",),
        url=("BUILDKITE_BUILD_URL",),
        checkout=("BUILDKITE_BUILD_CHECKOUT_PATH",),
    ),
    System(
        name="azure-pipelines",
        signs=("TF_BUILD",),
        repository=("BUILD_REPOSITORY_NAME", "BUILD_REPOSITORY_URI"),
        run=("BUILD_BUILDID",),
        job=("SYSTEM_JOBID",),
        url=(),
        checkout=("BUILD_SOURCESDIRECTORY",),
    ),
    System(
        name="circleci",
        signs=("CIRCLECI",),
        repository=("CIRCLE_REPOSITORY_URL", "CIRCLE_PROJECT_REPONAME"),
        run=("CIRCLE_WORKFLOW_ID",),
        job=("CIRCLE_BUILD_NUM",),
        url=("CIRCLE_BUILD_URL",),
        checkout=("CIRCLE_WORKING_DIRECTORY",),
    ),
    System(
        name="bitbucket",
        signs=("BITBUCKET_REPO_FULL_NAME",),
        repository=("BITBUCKET_REPO_FULL_NAME",),
        run=("BITBUCKET_PIPELINE_UUID",),
        job=("BITBUCKET_STEP_UUID",),
        url=(),
        checkout=("BITBUCKET_CLONE_DIR",),
    ),
)


def origin(env: Mapping[str, str]) -> Origin | None:
    """The job as its CI system calls it, None outside of any."""
    system = of(env)
    if system is None:
        return None
    return Origin(
        system=env.get("KUBE_BUILDER_CI", "other") if system.name == OWN else system.name,
        repository=repository(env),
        run=_first(system.run, env),
        job=_first(system.job, env),
        url=_first(system.url, env),
    )


def of(env: Mapping[str, str]) -> System | None:
    """The system that this job runs on."""
    return next((system for system in SYSTEMS if all(env.get(sign) for sign in system.signs)), None)


def repository(env: Mapping[str, str]) -> str:
    """The repository's path on its host as the CI system names it, "" elsewhere."""
    system = of(env)
    found = _first(system.repository, env) if system else ""
    return path_of(found) if "://" in found or "@" in found else found


def checkout(env: Mapping[str, str]) -> Path | None:
    """Where the CI system has put the repository's files, None elsewhere."""
    system = of(env)
    folder = _first(system.checkout, env) if system else ""
    return Path(folder).expanduser().absolute() if folder else None


def _first(names: tuple[str, ...], env: Mapping[str, str]) -> str:
    return next((env[name] for name in names if env.get(name)), "")
