"""Inputs of the GitLab template, and the variables through which they reach the job."""

from __future__ import annotations

from bundle.describe import scalar, sentence
from ci_buildx.ci import inputs
from ci_buildx.ci.gitlab.inputs import DEFAULTS, JOB_NAME, name_variable
from ci_buildx.settings.option import Option, OptionKind, OptionSurface

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Line breaks of YAML 1.1, which GitLab reads, and what no text holds. The last two are written by YAML's escapes."""
_ONE_LINE = f"^[^{_CONTROLS}]*$"

PATTERNS = {
    "lifetime": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$",
    "namespace": r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
    "timeline": rf'^[^{_CONTROLS}"\\]+\.(svg|html)$',
    "oidc": rf"^[^ {_CONTROLS}]*$",
}
"""What GitLab checks before a pipeline is made, by RE2, and gitlab-ci-local by JavaScript; the empty text is no input.

GitLab puts the text of an input into the file before that is read as YAML (gitlabhq bb0d992, ``lib/gitlab/ci/config/
interpolation/text_template.rb``): a second line would end the block, so an input without a pattern here is one line.
"""


def gitlab_inputs() -> str:
    """The template's ``spec: inputs`` that the table knows."""
    return "".join(_input(option) for option in inputs.list_inputs(OptionSurface.GITLAB))


def gitlab_variables() -> str:
    """Each input in a block, which only a line break ends. Arrays arrive as JSON."""
    names = [JOB_NAME, *(option.name for option in inputs.list_inputs(OptionSurface.GITLAB))]
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
        choices = ("", *option.choices)  # the default would hide the variable
        return ['default: ""', f"options: [{', '.join(map(scalar, choices))}]"]
    return [
        f"default: {scalar(DEFAULTS.get(option.name, ''))}",
        f"regex: {_quoted(PATTERNS.get(option.name, _ONE_LINE))}",
    ]


def _quoted(pattern: str) -> str:
    """A pattern in YAML's double quotes; ``\\uXXXX`` becomes the character, which RE2 writes in another way."""
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\\\\u", "\\u") + '"'
