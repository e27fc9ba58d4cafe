"""The GitLab job that builds the targets of a definition in the checkout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.bake import answers
from ci_buildx.bake.jobs import TargetJob, merge_settings, open_jobs
from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.ci import bake as ci_bake
from ci_buildx.ci import bake_inputs, inputs
from ci_buildx.ci.bake import BakeCommand, BakePlan
from ci_buildx.ci.gitlab import inputs as gitlab_inputs
from ci_buildx.ci.gitlab import job
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.model.record import replace
from ci_buildx.settings.contexts import is_remote
from ci_buildx.settings.option import VARIABLE_PREFIX, OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.wording import reword_error

if TYPE_CHECKING:
    from ci_buildx.bake.run import BakeOutcome
    from ci_buildx.builder.identity import JobIdentity
    from ci_buildx.progress.summary import BuildReport

_KNOWN = bake_inputs.list_bake_inputs(OptionSurface.GITLAB)
_WARNINGS = "BUILDX_METADATA_WARNINGS"


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Bake, or with ``post`` clean up, and return the exit code. Errors are in the words of the template's inputs."""
    try:
        if post:
            job.clean_up(env, cwd, stdout, template=_KNOWN)
            return 0
        return run_bake(env, cwd, stdout)
    except KubeBuilderError as error:
        ci_bake.reword_flags(error)
        reword_error(error, OptionSurface.GITLAB)
        raise


def run_bake(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Build the targets of the definition. Returns 0, or the status of a frontend call."""
    who = job.read_identity(env, cwd)
    project = job.find_project_folder(env, cwd)
    job.remove_foreign_report(project / job.DOTENV)
    given = gitlab_inputs.read_inputs(env, cwd, template=_KNOWN)
    scope = gitlab_inputs.choose_scope(env, given.read_text("trust-scope"))
    folder = _find_folder(given)
    given = gitlab_inputs.fill_defaults(given, folder=project)
    with (
        gitlab_inputs.open_private_folder(job.make_suffix(env)) as place,
        gitlab_inputs.write_kubeconfig(given, folder=place) as given,
        gitlab_inputs.log_in(given, inside=place) as around,
    ):
        around = {**around, TRUST_SCOPE: scope, _WARNINGS: "true"}
        command = ci_bake.read_command(given, around, folder)
        plan = ci_bake.plan_targets(command, stdout, workspace=project)
        with open_jobs(plan.targets, command.shared) as found:
            jobs = [_fit_job(one, command, given) for one in found]
            outcome = _run_jobs(jobs, command, who=who, project=project, stdout=stdout)
    _print_outcome(outcome, jobs, command, plan, stdout)
    return next((one.status for one in outcome.results.values() if one.status), 0)


def _find_folder(given: RawValues) -> Path:
    text, source = given.read_text("source") or ".", given.find_source("source")
    if is_remote(text):
        fix = "check the repository out and name a folder, or run `kube-builder bake URL` in a script"
        raise InputError("must be a folder", source=source, fix=fix)
    return ci_bake.find_folder(given, text, source=source)


def _fit_job(one: TargetJob, command: BakeCommand, given: RawValues) -> TargetJob:
    """Return a target for the job's log, with the inputs' call."""
    settings = inputs.fit_settings(one.settings, given.values, surface=OptionSurface.GITLAB)
    if command.call is not None and not one.linked:
        settings = replace(settings, build=replace(settings.build, call=command.call))
    return replace(one, settings=settings)


def _run_jobs(
    jobs: Sequence[TargetJob], command: BakeCommand, *, who: JobIdentity, project: Path, stdout: TextIO
) -> BakeOutcome:
    """Build, and write the reports before the builder is removed. Those of a failed build have the checks' findings."""
    from ci_buildx.bake import run

    env, heard = command.shared.env, list["BuildReport"]()
    dockerfile = jobs[0].settings.build.dockerfile_name

    def deliver(outcome: BakeOutcome) -> None:
        _write_result(outcome, project, env)
        findings = [finding for result in outcome.results.values() for finding in result.findings]
        job.write_findings(project, findings, dockerfile=dockerfile)

    session = run.BakeSession(
        settings=merge_settings(jobs, command.shared.cwd),
        env=env,
        display_stream=stdout,
        execution=command.execution,
        identity=who,
        deliver=deliver,
        hear=heard.append,
    )
    try:
        outcome = run.run_targets(jobs, session)
        job.copy_timeline(project, env)
    except KubeBuilderError as error:
        try:
            if heard:
                job.write_findings(project, heard[-1].findings, dockerfile=dockerfile)
            job.copy_timeline(project, env)
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    return outcome


def _write_result(outcome: BakeOutcome, project: Path, env: Mapping[str, str]) -> None:
    """Write the metadata file, and the dotenv report that names it, each also under the job's own name."""
    slug = job.make_slug(env)
    metadata, variable = job.name_job_file(job.METADATA, slug), f"{VARIABLE_PREFIX}METADATA"
    names = {variable: job.METADATA, f"{job.make_prefix(slug)}{variable}": metadata}
    job.write_report_file(project / job.DOTENV, "".join(f"{name}={file}\n" for name, file in names.items()))
    text = json.dumps(answers.make_metadata(outcome, env), indent=2) + "\n"
    for name in dict.fromkeys((job.METADATA, metadata)):
        job.write_report_file(project / name, text)


def _print_outcome(
    outcome: BakeOutcome, jobs: Sequence[TargetJob], command: BakeCommand, plan: BakePlan, stdout: TextIO
) -> None:
    if command.call is not None and command.call.json:
        stdout.write(answers.format_answers_json(plan.definition, jobs, outcome.results))
    else:
        stdout.write(answers.format_answers(jobs, outcome.results))
    for name, result in outcome.results.items():
        stdout.writelines(f"{name}: {line}\n" for line in result.list_lines())
