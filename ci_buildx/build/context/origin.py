"""The CI job, repository and commit of a build, and the identity, keys and trust scope derived from them.

A repository is identified by its path on its host (``group/project``), which is how CI systems name it.

Source: buildx 0.38.2, ``build/git.go`` and ``util/gitutil/gitutil.go`` (which attributes, which variables), BuildKit
0.34.2, ``util/gitutil/git_cli.go`` (git's environment). BuildKit moves ``vcs:…`` into the provenance
(``solver/llbsolver/provenance/predicate.go``); the image itself changes only by the labels that ``BUILDX_GIT_LABELS``
requests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.buildkit import solve_request
from ci_buildx.buildkit.solve_request import list_shared_folders
from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import redact_url
from ci_buildx.model.record import dataclass
from ci_buildx.runtime.signals import start_thread
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import BuildSettings

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
    return _read_origin(system, env) if system else None


def read_origin_of(name: str, env: Mapping[str, str]) -> JobOrigin:
    """Return the job as the CI system ``name`` describes it; texts of missing variables are empty."""
    return _read_origin(next(system for system in SYSTEMS if system.name == name), env)


def _read_origin(system: CiSystem, env: Mapping[str, str]) -> JobOrigin:
    return JobOrigin(
        system=env.get("KUBE_BUILDER_CI", "other") if system.name == OWN else system.name,
        repository=_read_path(system, env),
        run=_read_first(system.run, env),
        job=_read_first(system.job, env),
        url=_read_first(system.url, env),
        trust=env.get(TRUST_SCOPE, ""),
    )


def find_system(env: Mapping[str, str]) -> CiSystem | None:
    """Return the CI system that this job runs on, None outside of CI."""
    return next((system for system in SYSTEMS if all(env.get(sign) for sign in system.signs)), None)


def read_repository(env: Mapping[str, str]) -> str:
    """Return the repository's path on its host as the CI system names it, "" outside of CI."""
    system = find_system(env)
    return _read_path(system, env) if system else ""


def _read_path(system: CiSystem, env: Mapping[str, str]) -> str:
    found = _read_first(system.repository, env)
    return read_repository_path(found) if "://" in found or "@" in found else found


def find_checkout(env: Mapping[str, str]) -> Path | None:
    """Return the folder in which the CI system checked out the repository, None outside of CI."""
    system = find_system(env)
    folder = _read_first(system.checkout, env) if system else ""
    return Path(os.path.expanduser(folder)).absolute() if folder else None  # noqa: PTH111


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
    from ci_buildx.model.plaintext import redact_url

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
        message = f"builder {builder.name!r} is not allowed for runs of trust scope {scope!r}"
        trusted = "" if scope.startswith("fork:") else ", or set trust-scope: protected if this ref is trusted"
        raise InputError(message, fix=f"omit it, create one for them with {TRUST_SCOPE}={scope}{trusted}")


Git = Callable[..., str]
"""Runs git with these arguments in the context; returns its output, "" if there is none. Raises nothing."""

_CHECKOUT = ("rev-parse", "--is-inside-work-tree", "--show-toplevel", "HEAD", "--symbolic-full-name", "HEAD")
_ENTRYPOINT = "com.docker.image.source.entrypoint"
_REMOTES = ("origin", "upstream")
_IMAGES = ("image", "registry", "oci", "docker")
_DEADLINE = 3.0
"""Seconds for one call; buildx has no limit, but provenance is not worth delaying a build."""


def start_git_attributes(
    build: BuildSettings, env: Mapping[str, str], *, warn: Callable[[str], None]
) -> Callable[[], dict[str, str]]:
    """Query git in a thread if the context is in a checkout and the result will show the commit.

    Returns a function that waits for the request's attributes. It calls ``warn`` if git reports nothing about an
    existing checkout.
    """
    if isinstance(build.context, str) or not (_is_shown(build, env) and _has_checkout(build.context)):
        return dict
    context = build.context
    asked = start_thread(lambda: read_git_attributes(build, env, git=_make_git(context, env)))

    def wait() -> dict[str, str]:
        asked.done.wait()
        if not asked.take_result():
            warn(f"git cannot read this checkout, so the image does not name a commit; run git -C {context} status")
        return asked.take_result()

    return wait


def read_git_attributes(build: BuildSettings, env: Mapping[str, str], *, git: Git) -> dict[str, str]:
    """Return the attributes that ``git`` knows; empty if the context is not in a checkout."""
    lines = git(*_CHECKOUT).splitlines()
    if len(lines) < 2 or lines[0] != "true":
        return {}
    root = Path(lines[1])
    revision, branch = lines[2:4] if len(lines) == 4 else ("", "")  # nothing is committed yet
    if revision and read_boolean(env.get("BUILDX_GIT_CHECK_DIRTY", "")) and git("status", "--porcelain", "--ignored"):
        revision += "-dirty"
    found = {"revision": revision, "source": redact_url(_find_remote_url(git, branch))}
    attrs: dict[str, str] = {}
    if _wants_provenance(env):
        folders = {
            f"localdir:{name}": _make_relative(root, folder.resolve())
            for name, folder in list_shared_folders(build).items()
        }
        attrs |= {f"vcs:{name}": text for name, text in (found | folders).items() if text}
    if _wants_labels(env):
        labels = {f"org.opencontainers.image.{name}": text for name, text in found.items()}
        dockerfile = build.dockerfile and Path(os.path.normpath(build.dockerfile))
        labels[_ENTRYPOINT] = _make_relative(root, dockerfile) if dockerfile else ""
        attrs |= {f"label:{name}": text for name, text in labels.items() if text}
    return attrs


def read_remote_url(folder: Path, env: Mapping[str, str]) -> str:
    """Return the URL of ``origin`` or ``upstream`` of the checkout that contains ``folder``, "" if there is none."""
    return _find_remote_url(_make_git(folder, env), "")


def _is_shown(build: BuildSettings, env: Mapping[str, str]) -> bool:
    """Return whether the result will show the attributes."""
    exports_image = build.push or any(output.type in _IMAGES for output in build.outputs)
    return bool(exports_image and (_wants_labels(env) or (build.provenance and _wants_provenance(env))))


def _wants_provenance(env: Mapping[str, str]) -> bool:
    return read_boolean(env.get("BUILDX_GIT_INFO", "")) is not False


def _wants_labels(env: Mapping[str, str]) -> bool:
    wanted = env.get("BUILDX_GIT_LABELS", "")
    return wanted == "full" or read_boolean(wanted) is True


def _has_checkout(context: Path) -> bool:
    from ci_buildx.model.programs import find_checkout

    return find_checkout(context) is not None


def _find_remote_url(git: Git, branch: str) -> str:
    """Return the URL of the branch's upstream remote, else of ``origin`` or ``upstream``."""
    followed = git("for-each-ref", "--format=%(upstream:remotename)", branch) if branch.startswith("refs/") else ""
    names = dict.fromkeys((followed.strip(), *_REMOTES))
    return next((url for name in names if name and (url := git("remote", "get-url", name).partition("\n")[0])), "")


def _make_relative(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else ""


def _make_git(folder: Path, env: Mapping[str, str]) -> Git:
    from ci_buildx.fsutil.git import Git as Repository

    repository = Repository(folder, env)
    # rev-parse fails at the first name that it cannot find, after printing the results of those before.
    return lambda *arguments: repository.read_partly(*arguments, timeout=_DEADLINE)
