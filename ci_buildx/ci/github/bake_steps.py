"""Steps of docker/bake-action as steps of ``org/kube-builder/bake``, and its sub-actions as those of the same names.

Facts of docker/bake-action 4.0 to 7.1 (``action.yml``, ``src/context.ts``): since version 6, the definition comes from
the repository at the commit unless ``source`` names a folder; before, from ``workdir``, by default the checkout. All
files of the runner are allowed to the definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.ci import bake_inputs
from ci_buildx.ci.github.build_edit import StepEdit
from ci_buildx.ci.github.workflow import WorkflowStep
from ci_buildx.ci.migration.document import render_entry
from ci_buildx.ci.migration.report import MigrationVerdict
from ci_buildx.settings.option import OptionSurface

ACTION = "org/kube-builder/bake@v1"
_VERSION = re.compile(r"v?(\d+)(\.\d+)*")
_NOTED = re.compile(r"#.*?\bv?(\d+)(\.\d+)+\b|#\s*v(\d+)\b")
"""A comment with the version behind a commit's digest."""
_FROM_GIT = 6
"""The first version whose definitions come from the repository at the commit."""
_LISTS = re.compile(r"docker/bake-action/(?P<path>subaction/(?P<name>matrix|list-targets))@\S+")


def list_known_inputs() -> set[str]:
    """Return the inputs of the step that builds targets."""
    return {option.name for option in bake_inputs.list_bake_inputs(OptionSurface.GITHUB)}


def read_major(step: WorkflowStep) -> int | None:
    """Return the major version of the step's action, also from a comment behind a digest; None if it is unknown."""
    version = step.uses.strip().partition("@")[2]
    if found := _VERSION.fullmatch(version):
        return int(found[1])
    entry = step.entries["uses"]
    noted = _NOTED.search(step.document.cut(entry.first, entry.last))
    return int(noted[1] or noted[3]) if noted else None


def explain_source(step: WorkflowStep) -> str:
    """Return why a step's source of the definition cannot be kept, or an empty text."""
    if not step.read_input("workdir").strip():
        return ""
    if step.read_input("source").strip():
        return "it has both source and workdir"
    major = read_major(step)
    if major is None or major >= _FROM_GIT:
        return "it has workdir, but its definition may come from git: set source instead"
    return ""


def add_source(edit: StepEdit) -> None:
    """Name the checkout as the source if the step's version took it by default."""
    step, major = edit.step, read_major(edit.step)
    if major is not None and major < _FROM_GIT and not ({"source", "workdir"} & step.inputs.keys()):
        edit.first.append(render_entry("source", ".", edit.indent))


def list_notes(step: WorkflowStep, *, docker_driver: bool) -> Iterator[tuple[MigrationVerdict, str]]:
    """Yield the notes on a step that is replaced. ``docker_driver``: the job has no setup-buildx-action."""
    name = f" ({step.texts['name']})" if "name" in step.texts else ""
    yield MigrationVerdict.CARRIED, f"bake-action{name} is {ACTION}, with its inputs and output"
    if not {"source", "workdir"} & step.inputs.keys():
        yield _note_default(read_major(step))
    if "allow" not in step.inputs:
        text = "a definition may use only files of the checkout, unless the input allow names others: allow: fs=PATH"
        yield MigrationVerdict.CHANGED, text
    if step.read_input("load").strip() not in ("", "false"):
        yield MigrationVerdict.CHANGED, "load needs a docker daemon on the runner"
    elif docker_driver and step.read_input("push").strip() != "true":
        text = "docker's default builder loads the images of targets without outputs: add load: true if they are used"
        yield MigrationVerdict.BY_HAND, text


def _note_default(major: int | None) -> tuple[MigrationVerdict, str]:
    if major is None:
        text = "source is not set, and the version is unknown: before bake-action 6, add source: . for the checkout"
        return MigrationVerdict.BY_HAND, text
    if major < _FROM_GIT:
        return MigrationVerdict.CHANGED, f"source: . is added, the default of bake-action {major}"
    text = "definition and contexts are the repository at the commit, which the cluster fetches"
    return MigrationVerdict.CHANGED, f"{text}; use source: . for the checkout"


def find_list(step: WorkflowStep) -> str:
    """Return the action in place of a sub-action that lists targets, "" for other steps and unknown inputs."""
    found = _LISTS.fullmatch(step.uses.strip())
    if found is None or step.is_shared or not step.is_block:
        return ""
    matrix = found["name"] == "matrix"
    known = bake_inputs.list_matrix_inputs() if matrix else bake_inputs.list_targets_inputs()
    if not step.inputs.keys() <= {option.name for option in known}:
        return ""
    return f"org/kube-builder/bake/{found['path']}@v1"
