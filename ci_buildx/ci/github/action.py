"""Entry point of ``kube-builder github``: runs the Action's steps and annotates the run with errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from ci_buildx.ci import logins
from ci_buildx.ci.github import commands, inputs, setup, state, step
from ci_buildx.ci.github.commands import write_annotation
from ci_buildx.errors import Interrupted, KubeBuilderError, SolveError
from ci_buildx.fsutil import scratch
from ci_buildx.model import masker
from ci_buildx.runtime import signals
from ci_buildx.settings import assembly
from ci_buildx.settings.option import Option, OptionSurface
from ci_buildx.settings.wording import reword_error

Run = Callable[[Mapping[str, str], Path, TextIO], int]


class ActionKind(StrEnum):
    """What a step of the Action does; the first builds one image."""

    BUILD = ""
    SETUP = "setup"
    MERGE = "merge"
    BAKE = "bake"
    MATRIX = "matrix"
    LIST_TARGETS = "list-targets"
    SERVE = "serve"


def main(*, post: bool, kind: ActionKind = ActionKind.BUILD, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the build step or one of another ``kind``, or its clean-up with ``post``, and return the exit code."""
    run = clean_up if post else _choose_step(kind)
    with signals.raise_on_signals() as pass_over:
        try:
            return run(env, cwd, stdout)
        except (KubeBuilderError, Interrupted) as error:
            pass_over()
            reword_error(error, OptionSurface.GITHUB)
            return _annotate_error(error, env, stdout)


def _choose_step(kind: ActionKind) -> Run:
    if kind is ActionKind.MERGE:
        from ci_buildx.ci.github import merge

        return merge.run_merge
    if kind in (ActionKind.BAKE, ActionKind.MATRIX, ActionKind.LIST_TARGETS):
        from ci_buildx.ci.github import bake

        if kind is ActionKind.BAKE:
            return bake.run_bake_step
        return bake.run_matrix_step if kind is ActionKind.MATRIX else bake.run_list_step
    if kind is ActionKind.SERVE:
        from ci_buildx.ci.github import expose

        return expose.serve_sockets
    return setup.run_setup if kind is ActionKind.SETUP else step.run_build_step


def _annotate_error(error: KubeBuilderError | Interrupted, env: Mapping[str, str], stdout: TextIO) -> int:
    """Annotate the run with an error and its notes, with secrets of ``env`` masked. Returns the exit code."""
    hidden = masker.list_process_secrets(env, ())
    if not (isinstance(error, SolveError) and error.line):  # Those are annotated at their line already.
        write_annotation(stdout, "error", masker.mask_secrets(str(error), hidden))
    for note in getattr(error, "__notes__", ()):
        write_annotation(stdout, "warning", masker.mask_secrets(note, hidden))
    return error.exit_code


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the post step: remove the builder and files, whatever the main step's outcome. Returns 0."""
    scratch.remove_shared(commands.read_state(env, state.SOCKETS), scratch.SOCKETS)
    name, kept = commands.read_state(env, state.BUILDER), commands.read_state(env, state.KUBECONFIG)
    try:
        if name and not commands.read_state(env, setup.KEPT):
            _remove_builder(name, kept, env, cwd, stdout)
    finally:
        logins.remove_folder(commands.read_state(env, state.LOGINS))
        if kept:
            Path(kept).unlink(missing_ok=True)
    return 0


def _find_inputs(env: Mapping[str, str]) -> Mapping[str, Option] | None:
    """Return the inputs of the main step, None for those of a build."""
    if commands.read_state(env, state.BAKES):
        from ci_buildx.ci import bake_inputs

        return {option.name: option for option in bake_inputs.list_bake_inputs(OptionSurface.GITHUB)}
    return setup.KNOWN if commands.read_state(env, setup.ALONE) else None


def _remove_builder(name: str, kubeconfig: str, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> None:
    from ci_buildx.manage import reap

    given = inputs.read_inputs(env, cwd, known=_find_inputs(env))
    if kubeconfig and Path(kubeconfig).exists():
        given = given.replace_values(kubeconfig=kubeconfig)
    with inputs.write_kubeconfig(inputs.add_variables(given)) as given:
        cluster = assembly.make_cluster_settings(given.select_build_options(), given.sources, env, cwd)
        found = reap.remove_job_builder(cluster, name, env=env, namespace=commands.read_state(env, state.NAMESPACE))
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")
