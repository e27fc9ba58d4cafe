"""The Action's main step: builds with the step's inputs, and reports the result to the run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from ci_buildx.build.build_run import list_credentials_of_settings, list_secret_values
from ci_buildx.build.context.origin import TRUST_SCOPE, read_origin_of
from ci_buildx.build.result import BuildResult
from ci_buildx.builder import identity
from ci_buildx.ci import inputs, logins
from ci_buildx.ci.github import commands, events, naming
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.ci.github.commands import (
    annotate_failure,
    annotate_findings,
    filter_commands,
    mask_values,
    write_annotation,
)
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.ci.github.state import KUBECONFIG, LOGINS, ActionStep, save_state
from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.model.record import replace
from ci_buildx.model.secret import mention
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import ProgressMode, Settings
from ci_buildx.settings.wording import reword_error

_LOG = debug.get_log("ci")


def run_build_step(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the step. Returns 0, or the status of a frontend call.

    Raises the KubeBuilderError tree and Interrupted, which the run's summary then reports as well.
    """
    step = ActionStep(env=env, cwd=cwd, stdout=stdout, event=events.read_event(env), begun=time.monotonic())
    try:
        result = _run_build(step)
    except (KubeBuilderError, Interrupted) as error:
        reword_error(error, OptionSurface.GITHUB)
        if step.settings is not None:
            annotate_failure(error, step.settings.build, env, stdout)
            _report_result(step, str(error))
        raise
    _report_result(step, "")
    return result.status


def _run_build(step: ActionStep) -> BuildResult:
    from ci_buildx.build import run as job
    from ci_buildx.ci.github import report as github_report

    with prepare_build(step) as (given, env):
        values = github_report.add_timeline(given, step.env).select_build_options()
        step.settings = inputs.read_job_settings(values, given.sources, env, step.cwd, surface=OptionSurface.GITHUB)
        hide_texts(
            step, (*list_secret_values(step.settings.build), *list_credentials_of_settings(step.settings.build, env))
        )
        who = identity.make_identity(read_origin(step.event, step.cwd, env), suffix=identity.make_random_suffix())
        step.name = who.name
        step.result = result = job.run_build(
            step.settings,
            env=env,
            display_stream=choose_log(step.settings, step.stdout),
            identity=who,
            announce=lambda location: save_state(env, location),
            hear=lambda report: setattr(step, "report", report),
            deliver=partial(_deliver, step),
            hidden=step.hidden,
        )
    filter_commands(step.stdout).writelines(f"{line}\n" for line in result.list_lines())
    return result


def _deliver(step: ActionStep, result: BuildResult) -> None:
    step.result = result
    commands.append_values(step.env, commands.OUTPUT, make_outputs(result))


def choose_log(settings: Settings, stdout: TextIO) -> TextIO:
    """Return the stream for progress: only the mode made for GitHub may write workflow commands."""
    return stdout if settings.build.progress is ProgressMode.GITHUB else filter_commands(stdout)


@contextmanager
def prepare_build(step: ActionStep) -> Iterator[tuple[RawValues, dict[str, str]]]:
    """Yield the inputs as a build takes them, and its environment. Their files are removed on exit.

    The order of the passes that complete the inputs does not matter: each adds to other inputs, and secrets are a set.
    """
    given = github_inputs.add_variables(github_inputs.read_inputs(step.env, step.cwd))
    step.given = given
    found = read_step_logins(given, step)
    given = github_inputs.add_secrets(name_image(given, step))
    given = github_inputs.add_provenance(github_inputs.add_contexts(given, step.event), step.event)
    env = {**step.env, TRUST_SCOPE: events.choose_scope(step.event, given.read_text("trust-scope"))}
    _LOG.debug("GitHub: event %s, trust scope %s", step.event.name, env[TRUST_SCOPE])
    announce = partial(commands.append_value, step.env, commands.STATE, KUBECONFIG)
    with github_inputs.write_kubeconfig(given, announce) as given, log_in(found, given, env) as env:
        yield given, env


def name_image(given: RawValues, step: ActionStep) -> RawValues:
    """Return the inputs with the tags, labels and annotations that the metadata rules make, and output them."""
    made = naming.make_metadata(given, step.event)
    if made is not None:
        for warning in made.warnings:
            write_annotation(step.stdout, "warning", warning)
        texts = naming.make_metadata_outputs(made, given)
        commands.append_values(step.env, commands.OUTPUT, texts)
        commands.append_values(step.env, commands.ENVIRONMENT, naming.make_metadata_variables(texts, step.env))
    return naming.add_metadata(given, made)


def make_outputs(result: BuildResult) -> dict[str, str]:
    """Return the step's outputs, by docker/build-push-action's names."""
    return {
        "digest": result.digest,
        "imageid": result.image_id,
        "metadata": json.dumps(result.metadata, indent=2),
    }


def read_origin(event: WorkflowEvent, cwd: Path, env: Mapping[str, str]) -> identity.JobOrigin:
    """Return the job's origin, from the runner's default variables."""
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT", "1")
    return replace(
        read_origin_of("github", env),
        repository=event.repository or cwd.name,
        run=f"{run}-{attempt}" if run else "",
        url=event.run_url(),
    )


def hide_texts(step: ActionStep, texts: Iterable[str]) -> None:
    """Have the runner mask the texts in its log, and mask them in everything written elsewhere."""
    found = list(texts)
    step.hidden += found
    for text in found:
        mention(text)
    mask_values(found, step.stdout)


def read_step_logins(given: RawValues, step: ActionStep) -> tuple[logins.LoginInput, ...]:
    """Return the inputs' logins, without those whose secrets a fork's pull request did not get; hide their secrets."""

    def forgive(registry: str) -> None:
        why = "password is empty, since pull requests from forks do not get secrets"
        write_annotation(step.stdout, "notice", f"not logged in to {registry}: {why}")

    found = logins.read_logins(given, forgive=forgive if events.find_fork(step.event) else None)
    secrets = (one.reveal_text() for login in found for one in login.secrets)
    hide_texts(step, [*secrets, *github_inputs.list_written_credentials(given)])
    return found


@contextmanager
def log_in(found: tuple[logins.LoginInput, ...], given: RawValues, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment with the logins; the post step cleans up after a killed main step."""
    if not found:
        yield env
        return
    folder = logins.choose_folder(env.get("RUNNER_TEMP"))
    commands.append_value(env, commands.STATE, LOGINS, str(folder))
    kept = not given.switch("logout")
    logins.write_docker_config(found, env, folder)
    if kept:
        commands.append_value(env, commands.ENVIRONMENT, logins.FOLDER, str(folder))
    try:
        yield {**env, logins.FOLDER: str(folder)}
    finally:
        if not kept:
            logins.remove_folder(str(folder))


def _report_result(step: ActionStep, error: str) -> None:
    """Report findings and the summary; failures here never change the build's result."""
    if step.report is None or step.settings is None:
        return
    findings = step.result.findings if step.result is not None else ()
    annotate_findings(findings or step.report.findings, (step.settings.build,), step.env, step.stdout)
    summarize_run(step, error)


def summarize_run(step: ActionStep, error: str) -> None:
    """Write the summary and upload the record; a failure becomes a warning."""
    if step.given is None or step.settings is None:
        return
    from ci_buildx.ci.github import report as github_report

    try:
        github_report.write_report(step, step.given, step.settings, error)
    except KubeBuilderError as lost:
        write_annotation(step.stdout, "warning", str(lost))
