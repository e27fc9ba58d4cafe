"""What ``kube-builder action`` runs: the Action's steps, and the error boundary that the run's page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.ci import logins
from ci_buildx.ci.github import files, inputs, setup, step
from ci_buildx.ci.github.commands import annotate
from ci_buildx.errors import Interrupted, KubeBuilderError, SolveError
from ci_buildx.job import interrupts
from ci_buildx.model import masker
from ci_buildx.settings import assembly

Run = Callable[[Mapping[str, str], Path, TextIO], int]


def main(*, post: bool, alone: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the step, with ``alone`` the one that only sets a builder up, with ``post`` the clean-up; the exit code."""
    run: Run = clean_up if post else setup.set_up if alone else step.build
    with interrupts.raising() as pass_over:
        try:
            return run(env, cwd, stdout)
        except (KubeBuilderError, Interrupted) as error:
            pass_over()
            return _tell(error, env, stdout)


def _tell(error: KubeBuilderError | Interrupted, env: Mapping[str, str], stdout: TextIO) -> int:
    """Annotate the run with an error and its notes, without what is secret in ``env``; the exit code."""
    hidden = masker.of_process(env, ())
    if not (isinstance(error, SolveError) and error.line):  # that one stands at its line already
        annotate(stdout, "error", masker.without(str(error), hidden))
    for note in getattr(error, "__notes__", ()):
        annotate(stdout, "warning", masker.without(note, hidden))
    return error.exit_code


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """The post step: whatever became of the main step, its builder and its files go. 0."""
    name, kept = files.state(env, step.BUILDER), files.state(env, step.KUBECONFIG)
    try:
        if name and not files.state(env, setup.KEPT):
            _remove(name, kept, env, cwd, stdout)
    finally:
        logins.forget(files.state(env, step.LOGINS))
        if kept:
            Path(kept).unlink(missing_ok=True)
    return 0


def _remove(name: str, kubeconfig: str, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> None:
    from ci_buildx.job import remove

    given = inputs.read(env, cwd, known=setup.KNOWN if files.state(env, setup.ALONE) else None)
    if kubeconfig and Path(kubeconfig).exists():
        given = given.having(kubeconfig=kubeconfig)
    with inputs.with_kubeconfig(inputs.with_variables(given)) as given:
        cluster = assembly.cluster_from(given.of_build(), given.sources, env, cwd)
        found = remove.run(cluster, name, env=env, namespace=files.state(env, step.NAMESPACE))
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")
