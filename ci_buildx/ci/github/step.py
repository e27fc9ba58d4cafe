"""The Action's main step: what the inputs say, and what the run gets to know of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Location
from ci_buildx.ci import job_settings, logins
from ci_buildx.ci.github import attest, events, files, inputs, naming, repository, secrets, trust
from ci_buildx.ci.github.commands import annotate, mask, without_commands
from ci_buildx.ci.github.events import Event
from ci_buildx.ci.github.findings import annotate_failure, annotate_findings
from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.job.hidden import of_secrets, of_settings
from ci_buildx.job.origin import TRUST_SCOPE
from ci_buildx.job.result import BuildResult
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import mention
from ci_buildx.settings.given import Given
from ci_buildx.settings.values import Progress, Settings

if TYPE_CHECKING:
    from ci_buildx.progress.report import Report

_LOG = debug.get_log("ci")
BUILDER, NAMESPACE, LOGINS, KUBECONFIG = "builder", "namespace", "logins", "kubeconfig"
"""Names of the saved state. ``action/post.js`` looks whether there is any before it starts anything."""


@dataclass(slots=True, kw_only=True)
class Step:
    """A step that runs: what is known of it so far. ``hidden`` are the texts that nobody may see."""

    env: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    event: Event
    begun: float
    settings: Settings | None = None
    given: Given | None = None
    name: str = ""
    hidden: list[str] = field(default_factory=list)
    report: Report | None = None
    result: BuildResult | None = None


def build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the step: 0, or what a call of the frontend came to.

    Raises the KubeBuilderError tree and Interrupted, which are in the run's summary then, too.
    """
    step = Step(env=env, cwd=cwd, stdout=stdout, event=events.read(env), begun=time.monotonic())
    try:
        result = _build(step)
    except (KubeBuilderError, Interrupted) as error:
        if step.settings is not None:
            annotate_failure(error, step.settings, env, stdout)
            _tell(step, str(error))
        raise
    _tell(step, "")
    return result.status


def _build(step: Step) -> BuildResult:
    from ci_buildx.ci.github import telling
    from ci_buildx.job import build as job

    with prepared(step) as (given, env):
        values = telling.with_timeline(given, step.env).of_build()
        step.settings = job_settings.read(values, given.sources, env, step.cwd, auto=Progress.GITHUB)
        hide(step, (*of_secrets(step.settings.build), *of_settings(step.settings.build, env)))
        who = identity.make(origin(step.event, step.cwd, env), suffix=identity.random_suffix())
        step.name = who.name
        step.result = result = job.run(
            step.settings,
            env=env,
            display_stream=log_of(step.settings, step.stdout),
            identity=who,
            announce=lambda location: save(env, location),
            hear=lambda report: setattr(step, "report", report),
            deliver=partial(_deliver, step),
            hidden=step.hidden,
        )
    without_commands(step.stdout).writelines(f"{line}\n" for line in result.lines())
    return result


def _deliver(step: Step, result: BuildResult) -> None:
    step.result = result
    files.append_all(step.env, files.OUTPUT, outputs(result))


def log_of(settings: Settings, stdout: TextIO) -> TextIO:
    """Where progress is shown: of the modes only the one that is made for it may write commands."""
    return stdout if settings.build.progress is Progress.GITHUB else without_commands(stdout)


@contextmanager
def prepared(step: Step) -> Iterator[tuple[Given, dict[str, str]]]:
    """The inputs as a build takes them, and the environment that goes with them; both for as long as it is entered."""
    given = inputs.with_variables(inputs.read(step.env, step.cwd))
    step.given = given
    found = _logins(given, step)
    hide(step, [*(one.reveal_text() for login in found for one in login.secrets), *secrets.written(given)])
    made = naming.decide(given, step.event)
    if made is not None:
        for warning in made.warnings:
            annotate(step.stdout, "warning", warning)
        texts = naming.outputs(made, given)
        files.append_all(step.env, files.OUTPUT, texts)
        files.append_all(step.env, files.ENVIRONMENT, naming.variables(texts, step.env))
    given = secrets.with_secrets(naming.with_metadata(given, made))
    given = attest.with_provenance(repository.with_contexts(given, step.event), step.event)
    env = {**step.env, TRUST_SCOPE: trust.scope_of(step.event, given.text("trust-scope"))}
    _LOG.debug("GitHub: event %s, trust scope %s", step.event.name, env[TRUST_SCOPE])
    announce = partial(files.append, step.env, files.STATE, KUBECONFIG)
    with inputs.with_kubeconfig(given, announce) as given, _logged_in(found, given, env) as env:
        yield given, env


def save(env: Mapping[str, str], location: Location) -> None:
    """Tell the post step where the builder will be: the runner may kill the main step at any moment."""
    files.append(env, files.STATE, BUILDER, location.name)
    if not location.exclusive:
        files.append(env, files.STATE, NAMESPACE, location.namespace)


def outputs(result: BuildResult) -> dict[str, str]:
    """The step's outputs, named as docker/build-push-action names them."""
    return {
        "digest": result.digest,
        "imageid": result.image_id,
        "metadata": json.dumps(result.metadata, indent=2),
    }


def origin(event: Event, cwd: Path, env: Mapping[str, str]) -> identity.Origin:
    """The job, by the runner's default variables."""
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT", "1")
    return identity.Origin(
        system="github",
        repository=event.repository or cwd.name,
        run=f"{run}-{attempt}" if run else "",
        job=env.get("GITHUB_JOB", ""),
        url=event.run_url(),
        trust=env.get(TRUST_SCOPE, ""),
    )


def hide(step: Step, texts: Iterable[str]) -> None:
    """Have the runner mask the texts, and keep them out of what is written elsewhere."""
    found = list(texts)
    step.hidden += found
    for text in found:
        mention(text)
    mask(found, step.stdout)


def _logins(given: Given, step: Step) -> tuple[logins.Login, ...]:
    """The logins of the inputs, without those whose secrets a fork's pull request was not given."""

    def forgive(registry: str) -> None:
        why = "pull requests from forks get no secrets, so password is empty"
        annotate(step.stdout, "notice", f"not logged in to {registry}: {why}")

    return logins.read(given, forgive=forgive if trust.fork_of(step.event) else None)


@contextmanager
def _logged_in(found: tuple[logins.Login, ...], given: Given, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment in which the logins count; the post step removes what a killed main step leaves of them."""
    if not found:
        yield env
        return
    folder = logins.place(env.get("RUNNER_TEMP"))
    files.append(env, files.STATE, LOGINS, str(folder))
    kept = given.text("logout") and not given.switch("logout")
    logins.write(found, env, folder)
    if kept:
        files.append(env, files.ENVIRONMENT, logins.FOLDER, str(folder))
    try:
        yield {**env, logins.FOLDER: str(folder)}
    finally:
        if not kept:
            logins.forget(str(folder))


def _tell(step: Step, error: str) -> None:
    """Findings and summary; they never change what became of the build."""
    if step.report is None or step.given is None or step.settings is None:
        return
    from ci_buildx.ci.github import telling

    findings = step.result.findings if step.result is not None else ()
    annotate_findings(findings or step.report.findings, step.settings, step.env, step.stdout)
    try:
        telling.tell(step, step.given, step.settings, error)
    except KubeBuilderError as lost:
        annotate(step.stdout, "warning", str(lost))
