"""Decisions whether a build can take over the inputs of metadata-action and login-action.

A step is folded into the build only if nothing else can miss it. Otherwise it stays: both actions work beside
kube-builder, which reads docker's logins and takes tags from any expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ci_buildx.ci.github.build_edit import StepEdit
from ci_buildx.ci.github.workflow import WorkflowJob, WorkflowStep, match_step
from ci_buildx.ci.migration.document import move_entry, quote_text, render_entry

_RULES = {"tags": "tag-rules", "context": "metadata-context"}
_METADATA = ("images", "tags", "flavor", "labels", "annotations", "context", "bake-target", "github-token")
_MARKS = ("labels", "annotations")
_OWN_TOKEN = re.compile(r"\$\{\{\s*(github\.token|secrets\.GITHUB_TOKEN)\s*\}\}", re.IGNORECASE)
_LOGIN = ("registry", "username", "password", "scope", "ecr", "logout", "registry-auth")
_LISTED = ("registry", "username", "password", "scope")
_EXPRESSION = re.compile(r"\$\{\{\s*((?:(?!\}\}).)+?)\s*\}\}")
_PLAIN_KEYS = frozenset(("name", "id", "uses", "with", "if", "env"))
_VARIABLE = "DOCKER_METADATA_OUTPUT_"


def find_metadata_user(job: WorkflowJob, step: WorkflowStep, builds: Iterable[WorkflowStep]) -> WorkflowStep | str:
    """Return the build that can take over a metadata step, or the reason why none can."""
    users = [build for build in builds if step.id and build.index > step.index and _uses_output(build, step, "tags")]
    if len(users) != 1:
        return "several builds use it" if users else "no build uses its tags unchanged"
    build = users[0]
    for reason in (_explain_keys(step, build), _explain_outputs(step, build), _explain_references(job, step, build)):
        if reason:
            return reason
    return build


def _explain_keys(step: WorkflowStep, build: WorkflowStep) -> str:
    if step.is_shared or not step.is_block:
        return "it uses YAML anchors or flow style"
    if step.condition and step.condition != build.condition:
        return f"its condition is not the build's: {step.condition}"
    if unknown := step.entries.keys() - _PLAIN_KEYS:
        return f"it has {', '.join(sorted(unknown))}"
    if unknown := step.inputs.keys() - {*_METADATA}:
        return f"it has the input {', '.join(sorted(unknown))}"
    if clash := step.env.keys() & build.env.keys():
        return f"both steps set {', '.join(sorted(clash))}"
    return ""


def _explain_outputs(step: WorkflowStep, build: WorkflowStep) -> str:
    if not step.read_input("images").strip():
        return "it has no images"
    token = step.read_input("github-token")
    if token and not _OWN_TOKEN.fullmatch(token.strip()):
        return "it has a token of its own"
    if not _uses_output(build, step, "labels"):
        return "the build does not use its labels, which images would add"
    if _uses_output(build, step, "annotations") != ("annotations" in step.inputs):
        return "its annotations and the build's differ"
    if any("{{#" in step.read_input(name) for name in ("tags", "flavor", "images")):
        return "its rules use blocks of Handlebars"
    return ""


def _explain_references(job: WorkflowJob, step: WorkflowStep, build: WorkflowStep) -> str:
    own = [(step.first, step.last)]
    own += [(one.first, one.last) for name, one in build.inputs.items() if name in ("tags", *_MARKS)]
    line = job.find_reference(step.id, without=own)
    if line is not None:
        return f"line {line} uses its results"
    left = "\n".join(drop_outputs(build, step, name) for name in ("tags", *_MARKS))
    if match_step(step.id).search(left):
        return f"line {build.line} uses parts of its results"
    if _VARIABLE in job.document.text:
        return f"{_VARIABLE}… variables are used"
    return ""


def _match_output(step: WorkflowStep, output: str) -> re.Pattern[str]:
    return re.compile(rf"\$\{{\{{\s*steps\.{re.escape(step.id)}\.outputs\.{output}\s*\}}\}}", re.IGNORECASE)


def _uses_output(build: WorkflowStep, step: WorkflowStep, output: str) -> bool:
    pattern = _match_output(step, output)
    return any(pattern.fullmatch(line.strip()) for line in build.read_input(output).splitlines())


def drop_outputs(build: WorkflowStep, step: WorkflowStep, name: str) -> str:
    """Return the lines of an input of the build that are not the step's output."""
    pattern = _match_output(step, name)
    return "\n".join(
        line for line in build.read_input(name).splitlines() if not pattern.fullmatch(line.strip())
    ).strip()


def fold_metadata(step: WorkflowStep, edit: StepEdit) -> None:
    """Give the inputs of a metadata step to the build."""
    build = edit.step
    for name, entry in step.inputs.items():
        own = drop_outputs(build, step, name) if name in _MARKS else ""
        if name == "github-token":
            continue
        if own:
            edit.first.append(render_entry(name, f"{step.read_input(name).strip()}\n{own}", edit.indent))
        else:
            edit.first.append(move_entry(step.document, entry, _RULES.get(name, name), edit.indent))
    for name in ("tags", *_MARKS):
        if name in build.inputs:
            own = drop_outputs(build, step, name)
            keep = own and (name == "tags" or name not in step.inputs)
            edit.replaced[name] = render_entry(name, own, edit.indent) if keep else []
    edit.env |= step.env


def explain_login(
    job: WorkflowJob, step: WorkflowStep, build: WorkflowStep, gone: Iterable[WorkflowStep], *, alone: bool
) -> str:
    """Return why a login stays a step of its own, or an empty text. ``alone`` means that the job has no other login."""
    if step.index > build.index:
        return "it follows the build"
    if step.is_shared or not step.is_block:
        return "it uses YAML anchors or flow style"
    if step.condition and step.condition != build.condition:
        return f"its condition is not the build's: {step.condition}"
    if unknown := (step.entries.keys() - _PLAIN_KEYS) | (step.inputs.keys() - {*_LOGIN}):
        return f"it has {', '.join(sorted(unknown))}"
    if step.env:
        return "it sets env"
    if not alone and (reason := _explain_list(step)):
        return reason
    if step.id and job.find_reference(step.id, without=[(step.first, step.last)]):
        return "other lines refer to it"
    away = {id(one) for one in gone} | {id(step), id(build)}
    for other in job.steps[step.index :]:
        if id(other) not in away and other.may_need_login:
            return f"line {other.line} ({other.title}) may need it"
    return ""


def _explain_list(step: WorkflowStep) -> str:
    """Return why a login cannot be an entry of a list, or an empty text."""
    if unknown := step.inputs.keys() - {*_LISTED}:
        return f"the job has several logins, and this one has {', '.join(sorted(unknown))}"
    texts = [step.read_input(name).strip() for name in step.inputs]
    if any("${{" in text and not _EXPRESSION.fullmatch(text) for text in texts):
        return "the job has several logins, and this one has a text with an expression inside"
    return ""


def fold_logins(steps: list[WorkflowStep], edit: StepEdit) -> None:
    """Give the inputs of logins to the build: as they are, or several as a list."""
    if len(steps) == 1:
        (step,) = steps
        edit.last += [move_entry(step.document, entry, name, edit.indent) for name, entry in step.inputs.items()]
        return
    lines = []
    for step in steps:
        fields = [f"{name}: {_quote_field(step.read_input(name).strip())}" for name in step.inputs]
        lines += [f"{'  ' if number else '- '}{field}" for number, field in enumerate(fields)]
    edit.last.append(render_entry("registries", "\n".join(lines), edit.indent))


def _quote_field(text: str) -> str:
    """Return a login's field for a YAML text in which the runner replaces expressions; JSON is YAML for any secret."""
    found = _EXPRESSION.fullmatch(text)
    return f"${{{{ toJSON({found[1]}) }}}}" if found else quote_text(text)
