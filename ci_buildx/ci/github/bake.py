"""The steps for ``bake``: one builds a definition's targets, others make a job matrix of it, or list its targets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from ci_buildx.bake import answers
from ci_buildx.bake.jobs import TargetJob, merge_settings, open_jobs
from ci_buildx.bake.remote import DefinitionBuild
from ci_buildx.bake.request import BakeRequest, describe_targets, select_targets
from ci_buildx.bake.targets import DEFAULT
from ci_buildx.build.build_run import list_credentials_of_settings, list_secret_values
from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.builder import identity
from ci_buildx.ci import bake as ci_bake
from ci_buildx.ci import bake_inputs, inputs
from ci_buildx.ci.bake import BakeCommand, BakePlan
from ci_buildx.ci.github import commands, events, step
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.ci.github import report as github_report
from ci_buildx.ci.github.state import BAKES, KUBECONFIG, ActionStep, save_state
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError, SolveError
from ci_buildx.model.record import replace
from ci_buildx.settings.attributes import NO_DEFAULTS, PROVENANCE
from ci_buildx.settings.contexts import is_remote
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import Settings
from ci_buildx.settings.wording import reword_error

if TYPE_CHECKING:
    from ci_buildx.bake.resolution import ResolvedTargets
    from ci_buildx.bake.run import BakeOutcome
    from ci_buildx.ci.github.events import WorkflowEvent

KNOWN = {option.name: option for option in bake_inputs.list_bake_inputs(OptionSurface.GITHUB)}
_WARNINGS = "BUILDX_METADATA_WARNINGS"
_TOKEN, _HEADER = "BUILDX_BAKE_GIT_AUTH_TOKEN", "BUILDX_BAKE_GIT_AUTH_HEADER"


def run_bake_step(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Build the targets. Returns 0, or the status of a frontend call.

    Raises the KubeBuilderError tree and Interrupted, which the run's summary then reports as well.
    """
    current = ActionStep(env=env, cwd=cwd, stdout=stdout, event=events.read_event(env), begun=time.monotonic())
    commands.append_value(env, commands.STATE, BAKES, "true")
    jobs: list[TargetJob] = []
    try:
        outcome = _run_bake(current, jobs)
    except (KubeBuilderError, Interrupted) as error:
        ci_bake.reword_flags(error)
        reword_error(error, OptionSurface.GITHUB)
        if isinstance(error, SolveError) and jobs:
            failed = next((job for job in jobs if job.name == error.target), jobs[0])
            commands.annotate_failure(error, failed.settings.build, env, stdout)
        _report_result(current, jobs, str(error))
        raise
    _report_result(current, jobs, "")
    return next((one.status for one in outcome.results.values() if one.status), 0)


def _run_bake(current: ActionStep, jobs: list[TargetJob]) -> BakeOutcome:
    from ci_buildx.bake import run

    with _prepare(current) as (given, env):
        source = github_inputs.fill_default_context(
            given.read_text("source") or given.read_text("workdir"), current.event
        )
        remote = source if is_remote(source) else ""
        if remote and given.read_text("workdir"):
            raise InputError("cannot be set beside a git source", source=given.find_source("workdir"), fix="omit it")
        folder = current.cwd
        if not remote:
            folder = ci_bake.find_folder(given, source, source=given.find_source("source"))
        env = _choose_token(env, given, remote, current.event)
        command = ci_bake.read_command(given, env, folder, remote=remote)
        plan = _plan_targets(command, given, current)
        current.definition = plan.definition
        with open_jobs(plan.targets, command.shared) as found:
            jobs += [_fit_job(job, command, given) for job in found]
            current.settings = settings = merge_settings(jobs, folder)
            for job in jobs:
                build = job.settings.build
                step.hide_texts(current, (*list_secret_values(build), *list_credentials_of_settings(build, env)))
            who = _make_identity(current, env)
            current.name = who.name
            session = run.BakeSession(
                settings=settings,
                env={**env, _WARNINGS: "true"},
                display_stream=step.choose_log(settings, current.stdout),
                execution=command.execution,
                identity=who,
                announce=lambda location: save_state(env, location),
                deliver=partial(_deliver, current),
                hear=lambda report: setattr(current, "report", report),
                hidden=current.hidden,
            )
            outcome = run.run_targets(jobs, session)
    log = commands.filter_commands(current.stdout)
    if command.call is not None and command.call.json:
        log.write(answers.format_answers_json(plan.definition, jobs, outcome.results))
    else:
        log.write(answers.format_answers(jobs, outcome.results))
    for name, result in outcome.results.items():
        log.writelines(f"{name}: {line}\n" for line in result.list_lines())
    return outcome


@contextmanager
def _prepare(current: ActionStep) -> Iterator[tuple[RawValues, dict[str, str]]]:
    """Yield the inputs as a build takes them, and its environment. Their files are removed on exit."""
    offered = {option.name: option for option in bake_inputs.list_with_variables(KNOWN.values())}
    given = github_inputs.add_variables(github_inputs.read_inputs(current.env, current.cwd, known=KNOWN), offered)
    current.given = given
    found = step.read_step_logins(given, current)
    env = {**current.env, TRUST_SCOPE: events.choose_scope(current.event, given.read_text("trust-scope"))}
    given = github_report.add_timeline(given, current.env)
    announce = partial(commands.append_value, current.env, commands.STATE, KUBECONFIG)
    with github_inputs.write_kubeconfig(given, announce) as given, step.log_in(found, given, env) as env:
        yield _add_builder_id(given, current.event), env


def _add_builder_id(given: RawValues, event: WorkflowEvent) -> RawValues:
    asked = given.read_text(PROVENANCE)
    if not asked:
        return given
    return given.replace_values(provenance=github_inputs.add_builder_id(asked, event.run_url(attempt=True)))


def _choose_token(env: Mapping[str, str], given: RawValues, remote: str, event: WorkflowEvent) -> dict[str, str]:
    """Return the environment with the job's token if the definition is on GitHub's server, unless a login is set."""
    token = given.read_text("github-token")
    server = urlsplit(event.server).netloc
    is_there = bool(server) and urlsplit(remote).netloc.rpartition("@")[2] == server
    if not (token and is_there) or env.get(_TOKEN) or env.get(_HEADER):
        return dict(env)
    return {**env, _TOKEN: token}


def _plan_targets(command: BakeCommand, given: RawValues, current: ActionStep) -> BakePlan:
    env = command.shared.env
    build = DefinitionBuild(
        identity=_make_identity(current, env),
        announce=lambda location: save_state(env, location),
        fit=lambda settings: inputs.fit_settings(settings, given.values, surface=OptionSurface.GITHUB),
        hidden=current.hidden,
    )

    def add_provenance(resolved: ResolvedTargets) -> list[str]:
        if given.read_text(PROVENANCE) or read_boolean(env.get(NO_DEFAULTS, "")):
            return []
        if any(one.type == "docker" for target in resolved.targets.values() for one in target.get("output", ())):
            return []  # A docker daemon does not accept attestations.
        wanted = github_inputs.make_default_provenance(current.event)
        lacking = [
            name
            for name, target in resolved.targets.items()
            if not any(one.type == PROVENANCE for one in target.get("attest", ()))
        ]
        return [f"{name}.attest=type=provenance,{wanted}" for name in lacking]

    workspace = Path(current.env.get("GITHUB_WORKSPACE") or current.cwd)
    log = commands.filter_commands(current.stdout)
    return ci_bake.plan_targets(command, log, workspace=workspace, add_defaults=add_provenance, build=build)


def _make_identity(current: ActionStep, env: Mapping[str, str]) -> identity.JobIdentity:
    origin = step.read_origin(current.event, current.cwd, env)
    return identity.make_identity(origin, suffix=identity.make_random_suffix())


def _fit_job(job: TargetJob, command: BakeCommand, given: RawValues) -> TargetJob:
    """Return a target for the job's log, with the inputs' call."""
    settings: Settings = inputs.fit_settings(job.settings, given.values, surface=OptionSurface.GITHUB)
    if command.call is not None and not job.linked:
        settings = replace(settings, build=replace(settings.build, call=command.call))
    return replace(job, settings=settings)


def _deliver(current: ActionStep, outcome: BakeOutcome) -> None:
    current.targets = outcome.results
    text = json.dumps(answers.make_metadata(outcome, {_WARNINGS: "true"}), indent=2)
    commands.append_values(current.env, commands.OUTPUT, {"metadata": text})


def _report_result(current: ActionStep, jobs: Sequence[TargetJob], error: str) -> None:
    """Report findings and the summary; failures here never change the result."""
    if current.report is None or not jobs:
        return
    found = [finding for result in current.targets.values() for finding in result.findings]
    builds = [job.settings.build for job in jobs]
    commands.annotate_findings(found or current.report.findings, builds, current.env, current.stdout)
    step.summarize_run(current, error)


def run_matrix_step(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Output a job matrix of the definition. Returns 0. Raises InputError."""
    known = {option.name: option for option in bake_inputs.list_matrix_inputs()}
    given = github_inputs.read_inputs(env, cwd, known=known)
    found = make_matrix(_describe_definition(given, env)["target"], given.read_texts("fields"))
    return _write_list("matrix", found, env, stdout)


def run_list_step(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Output the names of the definition's targets. Returns 0. Raises InputError."""
    known = {option.name: option for option in bake_inputs.list_targets_inputs()}
    given = github_inputs.read_inputs(env, cwd, known=known)
    return _write_list("targets", list(_describe_definition(given, env)["target"]), env, stdout)


def make_matrix(targets: Mapping[str, Mapping[str, Any]], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entries of a matrix: one for each target, or one for each value of its attributes ``fields``.

    As docker/bake-action 7.1 does, an entry keeps the last value of each attribute before (``subaction/matrix``).
    """
    found: list[dict[str, Any]] = []
    for name, target in targets.items():
        entry: dict[str, Any] = {"target": name}
        listed = [key for key in target if key in fields]
        for key in listed:
            value = target[key]
            for one in value if isinstance(value, list) else [value]:
                entry[key] = one
                found.append(dict(entry))
        if not listed:
            found.append(entry)
    return found


def _describe_definition(given: RawValues, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the requested targets as ``bake --print`` shows them."""
    given.check_values()
    try:
        folder = ci_bake.find_folder(given, given.read_text("workdir") or ".", source=given.find_source("workdir"))
        request = BakeRequest(targets=(given.read_text("target") or DEFAULT,), files=tuple(given.read_texts("files")))
        loaded = ci_bake.load_definition(request, [], env, folder)
        return describe_targets(select_targets(loaded, request, ci_bake.select_environment(env)), "")
    except InputError as error:
        ci_bake.reword_flags(error)
        raise


def _write_list(name: str, found: list[Any], env: Mapping[str, str], stdout: TextIO) -> int:
    commands.append_value(env, commands.OUTPUT, name, json.dumps(found))
    commands.filter_commands(stdout).write(json.dumps(found, indent=2) + "\n")
    return 0
