"""GitHub Actions: inputs from ``INPUT_…``, the builder's name in GITHUB_STATE before it exists, outputs, annotations.

File formats and commands: GitHub's documentation, "Workflow commands for GitHub Actions" (2026).
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from ci_buildx.builder import identity
from ci_buildx.ci import kubeconfig
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError
from ci_buildx.job.result import BuildResult
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Surface
from ci_buildx.settings.values import SecretSource

STATE = "builder"
NOT_OPTIONS = ("python",)
"""Inputs that the JavaScript wrapper reads itself."""


def main(*, post: bool, env: Mapping[str, str], stdout: TextIO = sys.stdout) -> int:
    """Run the step, or with ``post`` the clean-up after the job; the exit code."""
    try:
        return clean_up(env, stdout) if post else build(env, stdout)
    except (KubeBuilderError, Interrupted) as error:
        annotate(stdout, "error", str(error))
        for note in getattr(error, "__notes__", ()):
            annotate(stdout, "warning", note)
        return error.exit_code


def build(env: Mapping[str, str], stdout: TextIO) -> int:
    """The main step: what the inputs say."""
    from ci_buildx.job import build as job

    with inputs(env) as (values, sources):
        settings = assembly.settings_from(values, sources, env, Path.cwd())
        mask(settings.build.secrets, stdout)
        with group(stdout, "kube-builder: build"):
            result = job.run(
                settings,
                env=env,
                display_stream=stdout,
                identity=identity.make(origin(env), suffix=identity.random_suffix()),
                announce=lambda name: append(env, "GITHUB_STATE", STATE, name),
            )
    write_outputs(env, result)
    summarize(env, result)
    return 0


def clean_up(env: Mapping[str, str], stdout: TextIO) -> int:
    """The post step: whatever became of the main step, its builder goes."""
    from ci_buildx.job import remove

    name = env.get(f"STATE_{STATE}", "")
    if not name:
        return 0
    with inputs(env) as (values, sources), group(stdout, "kube-builder: clean up"):
        cluster = assembly.cluster_from(values, sources, env, Path.cwd())
        found = remove.run(cluster, name, env=env, missing_ok=True)
        stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")
    return 0


@contextmanager
def inputs(env: Mapping[str, str]) -> Iterator[tuple[dict[str, Value], dict[str, str]]]:
    """Values and sources of the inputs that are set.

    The runner upper-cases names and keeps hyphens (``INPUT_BUILD-ARGS``). An input that is not in the table is an
    InputError that names the nearest one.
    """
    known = {f"INPUT_{option.name.upper()}": option.name for option in options.on_surface(Surface.GITHUB)}
    known |= {f"INPUT_{name.upper()}": "" for name in NOT_OPTIONS}
    values: dict[str, Value] = {}
    for variable, text in env.items():
        if not variable.startswith("INPUT_") or not text.strip():
            continue
        if variable not in known:
            name = variable.removeprefix("INPUT_").lower()
            fix = suggest(name, [option for option in known.values() if option])
            raise InputError(f"unknown input {name!r}", source="with", fix=fix)
        if known[variable]:
            values[known[variable]] = text
    sources = {name: f"input {name}" for name in values}
    with ExitStack() as undo:
        if isinstance(text := values.get("kubeconfig"), str):
            values["kubeconfig"] = undo.enter_context(kubeconfig.as_path(text, folder=env.get("RUNNER_TEMP")))
        yield values, sources


def origin(env: Mapping[str, str]) -> identity.Origin:
    """The job, by the runner's default variables."""
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT", "1")
    repository = env.get("GITHUB_REPOSITORY", "")
    url = f"{env.get('GITHUB_SERVER_URL', '')}/{repository}/actions/runs/{run}" if run else ""
    return identity.Origin(
        system="github",
        repository=repository or Path.cwd().name,
        run=f"{run}-{attempt}" if run else "",
        job=env.get("GITHUB_JOB", ""),
        url=url,
    )


def mask(found: Sequence[SecretSource], stdout: TextIO) -> None:
    """Tell the runner to hide each line of the secrets, should a step print it."""
    for secret in found:
        for line in secret.value.reveal().decode(errors="replace").splitlines():
            if line.strip():
                stdout.write(f"::add-mask::{escape(line)}\n")
    stdout.flush()


@contextmanager
def group(stdout: TextIO, title: str) -> Iterator[None]:
    """Fold what is written inside."""
    stdout.write(f"::group::{title}\n")
    try:
        yield
    finally:
        stdout.write("::endgroup::\n")
        stdout.flush()


def annotate(stdout: TextIO, level: str, message: str) -> None:
    """Show a message at the top of the run."""
    stdout.write(f"::{level} title=kube-builder::{escape(message)}\n")
    stdout.flush()


def escape(text: str) -> str:
    """The value of a workflow command on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def append(env: Mapping[str, str], variable: str, name: str, value: str) -> None:
    """Add ``name=value`` to one of the runner's files; nothing where the runner gave none."""
    if path := env.get(variable):
        mark = f"end-{secrets.token_hex(8)}"
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(f"{name}<<{mark}\n{value}\n{mark}\n")


def write_outputs(env: Mapping[str, str], result: BuildResult) -> None:
    """The step's outputs, named as docker/build-push-action names them."""
    append(env, "GITHUB_OUTPUT", "digest", result.digest)
    append(env, "GITHUB_OUTPUT", "imageid", result.image_id)
    append(env, "GITHUB_OUTPUT", "metadata", json.dumps(result.metadata, indent=2))


def summarize(env: Mapping[str, str], result: BuildResult) -> None:
    """A table on the run's page."""
    path = env.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    rows = [("Image", reference) for reference in result.references]
    rows += [
        ("Digest", result.digest),
        ("Platforms", ", ".join(str(platform) for platform in result.platforms)),
        ("Time", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.phases.items())),
    ]
    lines = [f"| {name} | `{value}` |" for name, value in rows if value]
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write("\n".join(("### kube-builder", "", "| | |", "|---|---|", *lines, "", "")))
