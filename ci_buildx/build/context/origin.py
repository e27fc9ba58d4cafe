"""The CI job and repository of a build, and the identity, keys and trust scope derived from them.

A repository is identified by its path on its host (``group/project``), which is how CI systems name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.buildkit import solve_request
from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass

_SCHEME = compile_lazily(r"[a-zA-Z0-9-]+://")
_HOST = compile_lazily(r"(?:[^@/]*@)?(?P<host>\[[^]]*\]|[^/:]*)(?::[0-9]*(?=/|$))?[:/]*(?P<path>.*)", re.DOTALL)


def read_repository_path(url: str) -> str:
    """Return the repository's path on its host, without ``.git``; the host if the path is empty."""
    found = _HOST.fullmatch(_SCHEME.sub("", url, count=1))
    assert found is not None
    path = unquote(found["path"]).strip("/").removesuffix(".git").rstrip("/")
    return path or found["host"]


OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class CiSystem:
    """Environment variables of one CI system; the first one that is set counts.

    A job runs on a system whose ``signs`` are all set. ``repository`` may hold a path or a clone URL.
    """

    name: str
    signs: tuple[str, ...]
    repository: tuple[str, ...]
    run: tuple[str, ...]
    job: tuple[str, ...]
    url: tuple[str, ...]
    checkout: tuple[str, ...]


SYSTEMS = (
    CiSystem(
        name=OWN,
        signs=("KUBE_BUILDER_REPOSITORY",),
        repository=("KUBE_BUILDER_REPOSITORY",),
        run=("KUBE_BUILDER_RUN",),
        job=("KUBE_BUILDER_JOB",),
        url=("KUBE_BUILDER_RUN_URL",),
        checkout=("KUBE_BUILDER_CHECKOUT",),
    ),
    CiSystem(
        name="github",
        signs=("GITHUB_REPOSITORY",),
        repository=("GITHUB_REPOSITORY",),
        run=("GITHUB_RUN_ID",),
        job=("GITHUB_JOB",),
        url=(),
        checkout=("GITHUB_WORKSPACE",),
    ),
    CiSystem(
        name="gitlab",
        signs=("CI_PROJECT_PATH",),
        repository=("CI_PROJECT_PATH",),
        run=("CI_PIPELINE_ID",),
        job=("CI_JOB_ID",),
        url=("CI_JOB_URL",),
        checkout=("CI_PROJECT_DIR",),
    ),
    CiSystem(
        name="jenkins",
        signs=("JENKINS_URL", "JOB_NAME"),
        repository=("GIT_URL", "GIT_URL_1", "JOB_NAME"),
        run=("BUILD_NUMBER",),
        job=("JOB_BASE_NAME",),
        url=("BUILD_URL",),
        checkout=("WORKSPACE",),
    ),
    CiSystem(
        name="buildkite",
        signs=("BUILDKITE",),
        repository=("BUILDKITE_REPO", "BUILDKITE_PIPELINE_SLUG"),
        run=("BUILDKITE_BUILD_NUMBER",),
        job=("BUILDKITE_JOB_ID",),
        url=("BUILDKITE_BUILD_URL",),
        checkout=("BUILDKITE_BUILD_CHECKOUT_PATH",),
    ),
    CiSystem(
        name="azure-pipelines",
        signs=("TF_BUILD",),
        repository=("BUILD_REPOSITORY_NAME", "BUILD_REPOSITORY_URI"),
        run=("BUILD_BUILDID",),
        job=("SYSTEM_JOBID",),
        url=(),
        checkout=("BUILD_SOURCESDIRECTORY",),
    ),
    CiSystem(
        name="circleci",
        signs=("CIRCLECI",),
        repository=("CIRCLE_REPOSITORY_URL", "CIRCLE_PROJECT_REPONAME"),
        run=("CIRCLE_WORKFLOW_ID",),
        job=("CIRCLE_BUILD_NUM",),
        url=("CIRCLE_BUILD_URL",),
        checkout=("CIRCLE_WORKING_DIRECTORY",),
    ),
    CiSystem(
        name="bitbucket",
        signs=("BITBUCKET_REPO_FULL_NAME",),
        repository=("BITBUCKET_REPO_FULL_NAME",),
        run=("BITBUCKET_PIPELINE_UUID",),
        job=("BITBUCKET_STEP_UUID",),
        url=(),
        checkout=("BITBUCKET_CLONE_DIR",),
    ),
)


def read_ci_origin(env: Mapping[str, str]) -> JobOrigin | None:
    """Return the job as its CI system names it, None outside of CI."""
    system = find_system(env)
    if system is None:
        return None
    return JobOrigin(
        system=env.get("KUBE_BUILDER_CI", "other") if system.name == OWN else system.name,
        repository=read_repository(env),
        run=_read_first(system.run, env),
        job=_read_first(system.job, env),
        url=_read_first(system.url, env),
    )


def find_system(env: Mapping[str, str]) -> CiSystem | None:
    """Return the CI system that this job runs on, None outside of CI."""
    return next((system for system in SYSTEMS if all(env.get(sign) for sign in system.signs)), None)


def read_repository(env: Mapping[str, str]) -> str:
    """Return the repository's path on its host as the CI system names it, "" outside of CI."""
    system = find_system(env)
    found = _read_first(system.repository, env) if system else ""
    return read_repository_path(found) if "://" in found or "@" in found else found


def find_checkout(env: Mapping[str, str]) -> Path | None:
    """Return the folder in which the CI system checked out the repository, None outside of CI."""
    system = find_system(env)
    folder = _read_first(system.checkout, env) if system else ""
    return Path(folder).expanduser().absolute() if folder else None


def _read_first(names: tuple[str, ...], env: Mapping[str, str]) -> str:
    return next((env[name] for name in names if env.get(name)), "")


TRUST_SCOPE = "KUBE_BUILDER_TRUST_SCOPE"
"""The runs that share caches with this one; empty for protected refs and outside of CI."""


def make_job_identity(context: Path | str, env: Mapping[str, str]) -> JobIdentity:
    """Return the identity of a build: the CI job's, or outside of CI one named after the context."""
    found = read_ci_origin(env)
    if found is not None:
        return identity.make_identity(found, suffix=identity.make_random_suffix())
    name = context.name or "root" if isinstance(context, Path) else _clean_url(context)
    return identity.make_identity(JobOrigin(system="local", repository=name), suffix=identity.make_random_suffix())


def _clean_url(url: str) -> str:
    """Remove secrets from a URL: it ends up in objects of the cluster, which others can read."""
    from ci_buildx.model.login import redact_url

    return redact_url(url).partition("#")[0].partition("?")[0]


def make_context_shared_key(context: Path | str, env: Mapping[str, str]) -> str:
    """Return the key under which buildkitd stores the context: equal across commits and runners."""
    return solve_request.make_shared_key(
        context.partition("#")[0] if isinstance(context, str) else context,
        repository=add_trust_scope(read_repository(env), env),
        checkout=find_checkout(env),
    )


def add_trust_scope(key: str, env: Mapping[str, str]) -> str:
    """Append the trust scope to a key, so that only runs of the same scope share it."""
    scope = env.get(TRUST_SCOPE, "")
    return f"{key}@{scope}" if scope else key


def check_trust(builder: Builder, env: Mapping[str, str]) -> None:
    """Raise InputError for a builder of another trust scope: its other runs would build with this run's cache."""
    scope = env.get(TRUST_SCOPE, "")
    if scope and builder.trust != scope:
        message = f"builder {builder.name!r} is not for runs of trust scope {scope!r}"
        trusted = "" if scope.startswith("fork:") else ", or say trust-scope: protected if this ref is trusted"
        raise InputError(message, fix=f"leave it out, make one for them with {TRUST_SCOPE}={scope}{trusted}")
