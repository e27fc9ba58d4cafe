"""The job of ``kube-builder ci``. CI_JOB_ID and CI_JOB_TOKEN identify its builder.

``after_script`` runs in another shell than ``script`` and inherits nothing from it (GitLab's documentation,
"after_script"), so the builder's name is derived from variables that both have. The token is unique to the job, so
other jobs cannot guess the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.build.result import BuildResult
from ci_buildx.builder import identity
from ci_buildx.ci import inputs
from ci_buildx.ci.attestations import drop_overridden
from ci_buildx.ci.gitlab import defaults, logins, reports
from ci_buildx.ci.gitlab import inputs as gitlab_inputs
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.settings import assembly
from ci_buildx.settings.values import ProgressMode, Settings

if TYPE_CHECKING:
    from ci_buildx.progress.summary import BuildReport


_LOG = debug.get_log("ci")


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the job, or with ``post`` its clean-up, and return the exit code. Errors are left to the command line."""
    if post:
        clean_up(env, cwd, stdout)
        return 0
    return run_build(env, cwd, stdout)


def run_build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Build with the job's inputs. Returns 0, or the status of a frontend call."""
    given = gitlab_inputs.read_inputs(env, cwd)
    scope = defaults.choose_scope(env, given.read_text("trust-scope"))
    read_identity(env, cwd)
    folder = reports.find_project_folder(env, cwd)
    given = drop_overridden(defaults.fill_defaults(given, folder=folder))
    with (
        logins.open_private_folder(make_suffix(env)) as place,
        gitlab_inputs.write_kubeconfig(given, folder=place) as given,
        logins.log_in(given, inside=place) as env,
    ):
        env[TRUST_SCOPE] = scope
        _LOG.debug("GitLab: job %s, trust scope %s", env.get("CI_JOB_ID", ""), scope)
        settings = inputs.read_job_settings(
            given.select_build_options(), given.sources, env, cwd, auto=ProgressMode.GITLAB
        )
        result = _run_settings(settings, env, cwd, stdout)
    stdout.writelines(f"{line}\n" for line in result.list_lines())
    return result.status


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> None:
    """Remove this job's builder and credentials, even if ``script`` is still running."""
    name = read_identity(env, cwd).name
    try:
        found = _remove_builder(name, env, cwd)
    finally:
        logins.remove_private_folder(make_suffix(env))
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")


def _remove_builder(name: str, env: Mapping[str, str], cwd: Path) -> bool:
    from ci_buildx.manage import reap

    with gitlab_inputs.write_kubeconfig(defaults.fill_cluster_defaults(gitlab_inputs.read_inputs(env, cwd))) as given:
        values = given.select_build_options()
        cluster = assembly.make_cluster_settings(values, given.sources, env, cwd)
        namespace = assembly.read_namespace(values, given.sources, env, cwd)
        return reap.remove_job_builder(cluster, name, env=env, namespace=namespace)


def read_identity(env: Mapping[str, str], cwd: Path) -> identity.JobIdentity:
    """Return the job's identity, which is the same in ``script`` and ``after_script``.

    Raises InputError outside a GitLab job.
    """
    job = env.get("CI_JOB_ID", "")
    if not job:
        raise InputError(
            "CI_JOB_ID is not set", fix="`kube-builder ci` runs in a GitLab job; elsewhere use `kube-builder build`"
        )
    origin = identity.JobOrigin(
        system="gitlab",
        repository=env.get("CI_PROJECT_PATH", "") or cwd.name,
        run=env.get("CI_PIPELINE_ID", ""),
        job=job,
        url=env.get("CI_JOB_URL", ""),
        trust=env.get(TRUST_SCOPE, ""),
    )
    return identity.make_identity(origin, suffix=make_suffix(env))


def make_suffix(env: Mapping[str, str]) -> str:
    """Return the suffix of this job's names, which is the same in ``after_script``."""
    host, project, job, token = (
        env.get(name, "") for name in ("CI_SERVER_HOST", "CI_PROJECT_ID", "CI_JOB_ID", "CI_JOB_TOKEN")
    )
    return identity.make_gitlab_suffix(host, project, job, token)


def _run_settings(settings: Settings, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> BuildResult:
    """Build, and write the reports before the builder is removed.

    Reports of a failed build contain the checks' findings.
    """
    from ci_buildx.build import run as job

    folder, heard = reports.find_project_folder(env, cwd), list["BuildReport"]()
    dockerfile = settings.build.dockerfile_name

    def deliver(result: BuildResult) -> None:
        reports.write_result(folder, result, env)
        reports.write_findings(folder, result.findings, dockerfile=dockerfile)

    try:
        result = job.run_build(
            settings,
            env=env,
            display_stream=stdout,
            identity=read_identity(env, cwd),
            hear=heard.append,
            deliver=deliver,
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
