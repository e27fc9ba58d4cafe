"""Inputs of the GitLab template, and the variables through which they reach the job."""

from __future__ import annotations

from bundle.describe import scalar, sentence
from ci_buildx.ci import inputs
from ci_buildx.ci.gitlab.inputs import DEFAULTS, JOB_NAME, of_input
from ci_buildx.settings.option import Kind, Option, Surface

_BREAKS = r"\n\v\f\r\x{85}\x{2028}\x{2029}"
"""What ends a line in YAML 1.1 (section 4.2), and what other readers take for it."""
ONE_LINE = rf"^[^{_BREAKS}]*$"

PATTERNS = {
    "lifetime": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$",
    "namespace": r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
    "timeline": rf"^[^{_BREAKS}]+\.(svg|html)$",
    "oidc": rf"^[^ \t{_BREAKS}]*$",
}
"""What GitLab checks before a pipeline is made (RE2, where ``$`` is the end of the text); others are :data:`ONE_LINE`.

GitLab puts the text of an input into the file before that is read as YAML (gitlabhq bb0d992, ``lib/gitlab/ci/config/
interpolation/text_template.rb``): a second line would end the block, and could add a ``before_script``. So each input
that is a text has a pattern; arrays arrive as JSON, and of the other kinds GitLab itself knows all values.
"""


def gitlab_inputs() -> str:
    """The template's ``spec: inputs`` that the table knows."""
    return "".join(_input(option) for option in inputs.on_surface(Surface.GITLAB))


def gitlab_variables() -> str:
    """Each input in a block, because no character of an input can end it: arrays arrive as JSON."""
    names = [JOB_NAME, *(option.name for option in inputs.on_surface(Surface.GITLAB))]
    return "".join(f"    {of_input(name)}: |\n      $[[ inputs.{name} ]]\n" for name in names)


def _input(option: Option) -> str:
    lines = [f"    {option.name}:", f"      description: {scalar(sentence(option, on=Surface.GITLAB))}"]
    lines += [f"      {line}" for line in _kind(option)]
    return "".join(f"{line}\n" for line in lines)


def _kind(option: Option) -> list[str]:
    if option.repeatable:
        return ["type: array", "default: []"]
    if option.kind is Kind.SWITCH:
        return ["type: boolean", f"default: {option.default}"]
    if option.kind is Kind.CHOICE:
        choices = ("", *option.choices)  # the default would hide the variable
        return ['default: ""', f"options: [{', '.join(map(scalar, choices))}]"]
    return [f"default: {scalar(DEFAULTS.get(option.name, ''))}", f"regex: {PATTERNS.get(option.name, ONE_LINE)}"]
