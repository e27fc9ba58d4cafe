"""Inputs of action.yml, and of the actions for setup, merge and bake."""

from __future__ import annotations

from collections.abc import Iterable

from bundle.describe import scalar, sentence
from ci_buildx.ci import bake_inputs as ci_bake_inputs
from ci_buildx.ci import inputs
from ci_buildx.settings.option import Option, OptionSurface


def action_inputs() -> str:
    """Return the Action's inputs as YAML."""
    return _inputs(inputs.list_inputs(OptionSurface.GITHUB))


def setup_inputs() -> str:
    """Return the setup step's inputs as YAML."""
    return _inputs(inputs.OF_SETUP)


def merge_inputs() -> str:
    """Return the merge step's inputs as YAML."""
    return _inputs(inputs.list_merge_inputs(OptionSurface.GITHUB))


def bake_inputs() -> str:
    """Return the bake step's inputs as YAML."""
    return _inputs(ci_bake_inputs.list_bake_inputs(OptionSurface.GITHUB))


def matrix_inputs() -> str:
    """Return the matrix step's inputs as YAML."""
    return _inputs(ci_bake_inputs.list_matrix_inputs())


def list_targets_inputs() -> str:
    """Return the inputs of the step that lists targets, as YAML."""
    return _inputs(ci_bake_inputs.list_targets_inputs())


def _inputs(options: Iterable[Option]) -> str:
    return "".join(_input(option) for option in options)


def _input(option: Option) -> str:
    """Return one input as YAML.

    Its default is only described: the runner would pass a real one on, and it would hide the variable.
    """
    lines = [f"  {option.name}:", f"    description: {scalar(sentence(option, on=OptionSurface.GITHUB))}"]
    if option.default.startswith("${{"):
        lines.append(f"    default: {option.default}")
    return "".join(f"{line}\n" for line in lines)
