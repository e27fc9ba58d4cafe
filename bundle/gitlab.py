"""Inputs of the GitLab template, and the variables through which they reach the job."""

from __future__ import annotations

from collections.abc import Iterable

from bundle.describe import scalar, sentence
from ci_buildx.ci import bake_inputs, inputs
from ci_buildx.ci.gitlab.inputs import DEFAULTS, JOB_NAME, name_variable
from ci_buildx.settings.option import Option, OptionKind, OptionSurface

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Line breaks of YAML 1.1, which GitLab reads, and control characters. The last two are written as YAML escapes."""
_ONE_LINE = f"^[^{_CONTROLS}]*$"

PATTERNS = {
    "lifetime": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$",
    "namespace": r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
    "timeline": rf'^[^{_CONTROLS}"\\]+\.(svg|html)$',
    "oidc": rf"^[^ {_CONTROLS}]*$",
}
"""Patterns that GitLab checks by RE2 before it creates a pipeline, and gitlab-ci-local by JavaScript's engine.

An empty text means no input. GitLab inserts the text of an input into the file before parsing it as YAML (gitlabhq
bb0d992, ``lib/gitlab/ci/config/interpolation/text_template.rb``). A second line would end the block, so an input
without a pattern here is limited to one line.
"""


def gitlab_inputs() -> str:
    """Return the template's ``spec: inputs`` for options of the table."""
    return "".join(_input(option) for option in inputs.list_inputs(OptionSurface.GITLAB))


def gitlab_variables() -> str:
    """Return the job's variables."""
    return _variables(inputs.list_inputs(OptionSurface.GITLAB))


def gitlab_merge_inputs() -> str:
    """Return the merge template's ``spec: inputs``."""
    return "".join(_input(option) for option in inputs.list_merge_inputs(OptionSurface.GITLAB))


def gitlab_merge_variables() -> str:
    """Return the merge job's variables."""
    return _variables(inputs.list_merge_inputs(OptionSurface.GITLAB))


def gitlab_bake_inputs() -> str:
    """Return the bake template's ``spec: inputs``."""
    return "".join(_input(option) for option in bake_inputs.list_bake_inputs(OptionSurface.GITLAB))


def gitlab_bake_variables() -> str:
    """Return the bake job's variables."""
    return _variables(bake_inputs.list_bake_inputs(OptionSurface.GITLAB))


def _variables(options: Iterable[Option]) -> str:
    """Return variables: each input in a block, which only a line break ends. Arrays arrive as JSON."""
    names = [JOB_NAME, *(option.name for option in options)]
    return "".join(f"    {name_variable(name)}: |\n      $[[ inputs.{name} ]]\n" for name in names)


def _input(option: Option) -> str:
    lines = [f"    {option.name}:", f"      description: {scalar(sentence(option, on=OptionSurface.GITLAB))}"]
    lines += [f"      {line}" for line in _kind(option)]
    return "".join(f"{line}\n" for line in lines)


def _kind(option: Option) -> list[str]:
    if option.repeatable:
        return ["type: array", "default: []"]
    if option.kind is OptionKind.SWITCH:
        return ["type: boolean", f"default: {option.default}"]
    if option.kind is OptionKind.CHOICE:
        choices = ("", *option.choices)  # A default would hide the variable.
        return ['default: ""', f"options: [{', '.join(map(scalar, choices))}]"]
    return [
        f"default: {scalar(DEFAULTS.get(option.name, ''))}",
        f"regex: {_quoted(PATTERNS.get(option.name, _ONE_LINE))}",
    ]


def _quoted(pattern: str) -> str:
    """Return a pattern in YAML's double quotes; ``\\uXXXX`` becomes the character, since RE2 writes it differently."""
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\\\\u", "\\u") + '"'
