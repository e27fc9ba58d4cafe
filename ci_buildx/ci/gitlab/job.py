"""The job of ``kube-builder gitlab``, and its reports for later jobs and the merge request.

``after_script`` runs in another shell than ``script`` and inherits nothing from it (GitLab's documentation,
"after_script"), so the builder's name is derived from variables that both have. The token is unique to the job, so
other jobs cannot guess the name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ci_buildx.build.context.origin import TRUST_SCOPE, read_origin_of
from ci_buildx.build.result import BuildResult
from ci_buildx.builder import identity
from ci_buildx.ci import inputs
from ci_buildx.ci.gitlab import inputs as gitlab_inputs
from ci_buildx.ci.gitlab.inputs import TIMELINE
from ci_buildx.ci.inputs import drop_overridden
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model import debug
from ci_buildx.model.plaintext import UNENCODABLE
from ci_buildx.model.record import replace
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.step import strip_control_characters
from ci_buildx.settings import assembly
from ci_buildx.settings.option import VARIABLE_PREFIX, Option, OptionSurface
from ci_buildx.settings.values import Settings
from ci_buildx.settings.wording import reword_error

if TYPE_CHECKING:
    from ci_buildx.progress.summary import BuildReport

_LOG = debug.get_log("ci")


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the build, or with ``post`` its clean-up, and return the exit code.

    Errors are left to the command line, in the words of the template's inputs.
    """
    try:
        if post:
            clean_up(env, cwd, stdout)
            return 0
        return run_build(env, cwd, stdout)
    except KubeBuilderError as error:
        reword_error(error, OptionSurface.GITLAB)
        raise


def run_build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Build with the job's inputs. Returns 0, or the status of a frontend call."""
    if env.get("CI_JOB_ID"):
        remove_foreign_report(find_project_folder(env, cwd) / DOTENV)
    given = gitlab_inputs.read_inputs(env, cwd)
    scope = gitlab_inputs.choose_scope(env, given.read_text("trust-scope"))
    read_identity(env, cwd)
    folder = find_project_folder(env, cwd)
    given = drop_overridden(gitlab_inputs.fill_defaults(given, folder=folder))
    with (
        gitlab_inputs.open_private_folder(make_suffix(env)) as place,
        gitlab_inputs.write_kubeconfig(given, folder=place) as given,
        gitlab_inputs.log_in(given, inside=place) as env,
    ):
        env[TRUST_SCOPE] = scope
        _LOG.debug("GitLab: job %s, trust scope %s", env.get("CI_JOB_ID", ""), scope)
        settings = inputs.read_job_settings(
            given.select_build_options(), given.sources, env, cwd, surface=OptionSurface.GITLAB
        )
        result = _run_settings(settings, env, cwd, stdout)
    stdout.writelines(f"{line}\n" for line in result.list_lines())
    return result.status


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO, *, template: Sequence[Option] = ()) -> None:
    """Remove this job's builder and credentials, even if ``script`` is still running.

    ``template`` are the inputs of another template than that of a build.
    """
    name = read_identity(env, cwd).name
    try:
        found = _remove_builder(name, env, cwd, template)
    finally:
        gitlab_inputs.remove_private_folder(make_suffix(env))
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")


def _remove_builder(name: str, env: Mapping[str, str], cwd: Path, template: Sequence[Option]) -> bool:
    from ci_buildx.manage import reap

    read = gitlab_inputs.read_inputs(env, cwd, template=template)
    with gitlab_inputs.write_kubeconfig(gitlab_inputs.fill_cluster_defaults(read)) as given:
        values = given.select_build_options()
        cluster = assembly.make_cluster_settings(values, given.sources, env, cwd)
        cluster = inputs.fit_cluster(cluster, values, surface=OptionSurface.GITLAB)
        namespace = assembly.read_namespace(values, given.sources, env, cwd)
        return reap.remove_job_builder(cluster, name, env=env, namespace=namespace)


def read_identity(env: Mapping[str, str], cwd: Path) -> identity.JobIdentity:
    """Return the job's identity, which is the same in ``script`` and ``after_script``.

    Raises InputError outside a GitLab job.
    """
    if not env.get("CI_JOB_ID"):
        raise InputError(
            "CI_JOB_ID is not set", fix="`kube-builder gitlab` runs in a GitLab job; elsewhere use `kube-builder build`"
        )
    found = read_origin_of("gitlab", env)
    found = replace(found, repository=found.repository or cwd.name)
    return identity.make_identity(found, suffix=make_suffix(env))


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

    folder, heard = find_project_folder(env, cwd), list["BuildReport"]()
    dockerfile = settings.build.dockerfile_name

    def deliver(result: BuildResult) -> None:
        write_result(folder, result, env)
        write_findings(folder, result.findings, dockerfile=dockerfile)

    try:
        result = job.run_build(
            settings,
            env=env,
            display_stream=stdout,
            identity=read_identity(env, cwd),
            hear=heard.append,
            deliver=deliver,
        )
        copy_timeline(folder, env)
    except KubeBuilderError as error:
        findings = [finding for report in heard for finding in report.findings]
        try:
            write_findings(folder, findings, dockerfile=dockerfile)
            copy_timeline(folder, env)
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    return result


DOTENV = "kube-builder.env"
METADATA = "kube-builder.json"
"""A separate file: GitLab takes at most 5 KiB of dotenv report (its documentation, "Limit dotenv file size")."""
CODE_QUALITY = "kube-builder-checks.json"


def remove_foreign_report(path: Path) -> None:
    """Remove a dotenv report that came with the checkout.

    GitLab would make it variables of later jobs if this job fails, or prints a frontend's answer. Raises
    KubeBuilderError.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot remove {path}, which would become variables of later jobs: {error.strerror}"
        raise KubeBuilderError(message, fix="remove it from the repository") from error


def write_result(folder: Path, result: BuildResult, env: Mapping[str, str]) -> None:
    """Write the dotenv report, which later jobs see as variables, and the metadata file that it names.

    No value can add a line. Each variable is also written with the job's name as prefix, since the reports of several
    jobs overwrite each other.
    """
    job = make_slug(env)
    found = make_variables(result) | {
        f"{make_prefix(job)}{name}": value for name, value in make_variables(result, job).items()
    }
    write_report_file(
        folder / DOTENV, "".join(f"{name}={strip_control_characters(value)}\n" for name, value in found.items())
    )
    text = json.dumps(result.metadata, indent=2) + "\n"
    for name in dict.fromkeys((METADATA, name_job_file(METADATA, job))):
        write_report_file(folder / name, text)


def make_variables(result: BuildResult, job: str = "") -> dict[str, str]:
    """Return the variables for later jobs. ``IMAGE`` is the first name with its digest, for deployments."""
    image = f"{result.references[0]}@{result.digest}" if result.references and result.digest else ""
    metadata = name_job_file(METADATA, job)
    values = {"DIGEST": result.digest, "IMAGEID": result.image_id, "IMAGE": image, "METADATA": metadata}
    return {f"{VARIABLE_PREFIX}{name}": value for name, value in values.items()}


def make_slug(env: Mapping[str, str]) -> str:
    """Return the job's name as ``CI_JOB_NAME_SLUG`` has it, which is part of the template's artifact names."""
    name = env.get("CI_JOB_NAME_SLUG", "") or env.get("CI_JOB_NAME", "")
    return re.sub(r"[^a-z0-9]", "-", name.lower())[:63].strip("-")


def make_prefix(job: str) -> str:
    """Return the prefix of the job's own variables: ``BUILD_IMAGE_`` for the slug ``build-image``."""
    name = job.replace("-", "_").upper()
    return f"_{name}_" if name[:1].isdigit() else f"{name}_" if name else ""


def name_job_file(name: str, job: str) -> str:
    """Return the name of a report's file with the job's slug before its suffix."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{job}{dot}{suffix}" if job else name


def copy_timeline(folder: Path, env: Mapping[str, str]) -> None:
    """Copy the timeline to a file with the job's name, if it was written to the path that the template expects."""
    drawn, job = folder / TIMELINE, make_slug(env)
    # A link is the checkout's: artifacts must not hold the file that it leads to.
    if job and drawn.is_file() and not drawn.is_symlink():
        write_report_file(folder / name_job_file(TIMELINE, job), drawn.read_text(encoding="utf-8"))


def write_findings(folder: Path, findings: Iterable[CheckFinding], *, dockerfile: str) -> None:
    """Write the code quality report, empty without findings: the merge request shows new ones."""
    write_report_file(
        folder / CODE_QUALITY, json.dumps(make_code_quality(findings, folder, dockerfile=dockerfile), indent=2) + "\n"
    )


def make_code_quality(findings: Iterable[CheckFinding], folder: Path, *, dockerfile: str) -> list[dict[str, Any]]:
    """Return findings as GitLab reads them (its documentation, "Code Quality report format"), without duplicates.

    Fingerprints do not contain the line, so a finding that only moved is not a new one.
    """
    issues, seen = [], dict[str, int]()
    for finding in dict.fromkeys(findings):
        path = _make_relative(folder, finding.path) if finding.path else finding.filename or dockerfile
        key = "\0".join((finding.rule, path, finding.message))
        seen[key] = seen.get(key, 0) + 1
        issues.append(
            {
                "description": finding.message,
                "check_name": finding.rule or "build",
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode(errors=UNENCODABLE)).hexdigest(),
                "severity": "critical" if finding.fatal else "minor",
                "location": {"path": path, "lines": {"begin": max(1, finding.line)}},
                **({"content": {"body": f"{finding.description} {finding.url}".strip()}} if finding.url else {}),
            }
        )
    return issues


def find_project_folder(env: Mapping[str, str], cwd: Path) -> Path:
    """Return the folder where GitLab looks for artifacts: the checkout, even if the script changed its directory."""
    folder = Path(env.get("CI_PROJECT_DIR") or cwd)
    return folder if folder.is_dir() else cwd


def write_report_file(path: Path, text: str) -> None:
    """Write a report in place of what is there, which may be a link of the checkout. Raises KubeBuilderError."""
    try:
        scratch.replace(path, text.encode(errors=UNENCODABLE))
    except OSError as error:
        fix = "the image was built; allow the job's user to write to the checkout"
        raise KubeBuilderError(f"cannot write the report {path}: {error.strerror}", fix=fix) from error


def _make_relative(folder: Path, path: Path) -> str:
    resolved, root = path.resolve(), folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)
