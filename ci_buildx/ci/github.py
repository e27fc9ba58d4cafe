"""GitHub Actions: inputs from ``INPUT_…``, the builder's name in GITHUB_STATE before it exists, outputs, annotations.

File formats and commands: GitHub's documentation, "Workflow commands for GitHub Actions" (2026).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Location
from ci_buildx.ci import inputs as offered
from ci_buildx.ci import job_settings, kubeconfig
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError
from ci_buildx.job.result import BuildResult
from ci_buildx.settings import assembly
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Surface
from ci_buildx.settings.values import SecretSource

BUILDER, NAMESPACE = "builder", "namespace"
"""Names of the saved state. ``action/run.js`` looks at the first before it starts anything in the post step."""


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the step, or with ``post`` the clean-up after the job; the exit code."""
    run: Callable[[Mapping[str, str], Path, TextIO], int] = clean_up if post else build
    try:
        return run(env, cwd, stdout)
    except (KubeBuilderError, Interrupted) as error:
        annotate(stdout, "error", str(error))
        for note in getattr(error, "__notes__", ()):
            annotate(stdout, "warning", note)
        return error.exit_code


def build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """The main step: what the inputs say. 0, or what a call of the frontend came to."""
    from ci_buildx.job import build as job

    with inputs(env) as (values, sources):
        settings = job_settings.read(values, sources, env, cwd)
        mask(settings.build.secrets, stdout)
        result = job.run(
            settings,
            env=env,
            display_stream=stdout,
            identity=identity.make(origin(env, cwd), suffix=identity.random_suffix()),
            announce=lambda location: save(env, location),
        )
    stdout.writelines(f"{line}\n" for line in result.lines())
    write_outputs(env, result)
    summarize(env, result)
    return result.status


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """The post step: whatever became of the main step, its builder goes."""
    name = env.get(f"STATE_{BUILDER}", "")
    if not name:
        return 0
    from ci_buildx.job import remove

    with inputs(env) as (values, sources):
        cluster = assembly.cluster_from(values, sources, env, cwd)
        found = remove.run(cluster, name, env=env, namespace=env.get(f"STATE_{NAMESPACE}", ""), missing_ok=True)
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")
    return 0


def save(env: Mapping[str, str], location: Location) -> None:
    """Tell the post step where the builder will be: the runner may kill the main step at any moment."""
    append(env, "GITHUB_STATE", BUILDER, location.name)
    if not location.exclusive:
        append(env, "GITHUB_STATE", NAMESPACE, location.namespace)


@contextmanager
def inputs(env: Mapping[str, str]) -> Iterator[tuple[dict[str, Value], dict[str, str]]]:
    """Values and sources of the inputs that are set, with the kubeconfig as a file."""
    values, sources = read_inputs(env)
    if text := values.get("kubeconfig"):
        with kubeconfig.as_path(str(text), folder=env.get("RUNNER_TEMP")) as path:
            yield {**values, "kubeconfig": path}, sources
    else:
        yield values, sources


def read_inputs(env: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Values and sources of the inputs that are set.

    The runner upper-cases names and keeps hyphens (``INPUT_BUILD-ARGS``). It only warns of an input that
    ``action.yml`` lacks; we raise InputError with the nearest name, or a typo would build something else.
    """
    known = {_variable(option.name): option.name for option in offered.on_surface(Surface.GITHUB)}
    given = {name: text for name, text in env.items() if name.startswith("INPUT_") and text.strip()}
    for variable in given.keys() - known.keys():
        name = variable.removeprefix("INPUT_").lower()
        raise InputError(f"unknown input {name!r}", fix=suggest(name, known.values()))
    values: dict[str, Value] = {known[variable]: text for variable, text in given.items()}
    values.pop(offered.PYTHON.name, None)
    return values, {name: f"input {name}" for name in values}


def _variable(name: str) -> str:
    return f"INPUT_{name.upper()}"


def origin(env: Mapping[str, str], cwd: Path) -> identity.Origin:
    """The job, by the runner's default variables."""
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT", "1")
    repository = env.get("GITHUB_REPOSITORY", "")
    url = f"{env.get('GITHUB_SERVER_URL', '')}/{repository}/actions/runs/{run}" if run else ""
    return identity.Origin(
        system="github",
        repository=repository or cwd.name,
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
    rows = [f"| {name} | `{value}` |" for name, value in result.rows()]
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write("\n".join(("### kube-builder", "", "| | |", "|---|---|", *rows, "", "")))
