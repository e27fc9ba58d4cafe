"""What ``kube-builder ci`` runs; CI_JOB_ID and CI_JOB_TOKEN lead back to the builder.

``after_script`` runs in another shell than ``script`` and inherits nothing from it (GitLab's documentation,
"after_script"), so the builder's name is derived from what both see. The token, which no other job has, keeps others
from guessing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.builder import identity
from ci_buildx.ci import job_settings
from ci_buildx.ci.attestations import with_last_word
from ci_buildx.ci.gitlab import defaults, hideout, inputs, registries, reports, trust
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.job.origin import TRUST_SCOPE
from ci_buildx.job.result import BuildResult
from ci_buildx.model import debug
from ci_buildx.settings import assembly
from ci_buildx.settings.values import Progress, Settings

if TYPE_CHECKING:
    from ci_buildx.progress.report import Report


_LOG = debug.get_log("ci")


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the job, or with ``post`` its clean-up; the exit code. Errors are left to the command line's boundary."""
    if post:
        clean_up(env, cwd, stdout)
        return 0
    return build(env, cwd, stdout)


def build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """What the inputs say. 0, or what a call of the frontend came to."""
    given = inputs.read(env, cwd)
    scope = trust.scope_of(env, given.text("trust-scope"))
    who(env, cwd)
    folder = reports.project(env, cwd)
    given = with_last_word(defaults.fill(given, folder=folder))
    with (
        hideout.private(suffix(env)) as place,
        inputs.with_kubeconfig(given, folder=place) as given,
        registries.logged_in(given, inside=place) as env,
    ):
        env[TRUST_SCOPE] = scope
        _LOG.debug("GitLab: job %s, trust scope %s", env.get("CI_JOB_ID", ""), scope)
        settings = job_settings.read(given.of_build(), given.sources, env, cwd, auto=Progress.GITLAB)
        result = _run(settings, env, cwd, stdout)
    stdout.writelines(f"{line}\n" for line in result.lines())
    return result.status


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> None:
    """Remove this job's builder and credentials, also while ``script`` still runs."""
    name = who(env, cwd).name
    try:
        found = _remove(name, env, cwd)
    finally:
        hideout.forget(suffix(env))
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")


def _remove(name: str, env: Mapping[str, str], cwd: Path) -> bool:
    from ci_buildx.job import remove

    with inputs.with_kubeconfig(defaults.of_cluster(inputs.read(env, cwd))) as given:
        values = given.of_build()
        cluster = assembly.cluster_from(values, given.sources, env, cwd)
        namespace = assembly.namespace_from(values, given.sources, env, cwd)
        return remove.run(cluster, name, env=env, namespace=namespace)


def who(env: Mapping[str, str], cwd: Path) -> identity.JobIdentity:
    """The job's identity, the same in ``script`` and ``after_script``. InputError outside of a GitLab job."""
    job = env.get("CI_JOB_ID", "")
    if not job:
        raise InputError(
            "CI_JOB_ID is not set", fix="`kube-builder ci` runs in a GitLab job; elsewhere use `kube-builder build`"
        )
    origin = identity.Origin(
        system="gitlab",
        repository=env.get("CI_PROJECT_PATH", "") or cwd.name,
        run=env.get("CI_PIPELINE_ID", ""),
        job=job,
        url=env.get("CI_JOB_URL", ""),
        trust=env.get(TRUST_SCOPE, ""),
    )
    return identity.make(origin, suffix=suffix(env))


def suffix(env: Mapping[str, str]) -> str:
    """What the names of this job end with, here and in ``after_script``."""
    host, project, job, token = (
        env.get(name, "") for name in ("CI_SERVER_HOST", "CI_PROJECT_ID", "CI_JOB_ID", "CI_JOB_TOKEN")
    )
    return identity.gitlab_suffix(host, project, job, token)


def _run(settings: Settings, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> BuildResult:
    """The build. Reports are written before the builder is removed; those of a failing one say what checks found."""
    from ci_buildx.job import build as job

    folder, heard = reports.project(env, cwd), list["Report"]()
    dockerfile = settings.build.dockerfile_name

    def deliver(result: BuildResult) -> None:
        reports.write_result(folder, result, env)
        reports.write_findings(folder, result.findings, dockerfile=dockerfile)

    try:
        result = job.run(
            settings, env=env, display_stream=stdout, identity=who(env, cwd), hear=heard.append, deliver=deliver
        )
        reports.copy_timeline(folder, env)
    except KubeBuilderError as error:
        findings = [finding for report in heard for finding in report.findings]
        try:
            reports.write_findings(folder, findings, dockerfile=dockerfile)
            reports.copy_timeline(folder, env)
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    return result
