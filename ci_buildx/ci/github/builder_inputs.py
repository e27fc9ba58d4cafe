"""Inputs of docker/setup-buildx-action as inputs of the builder, and platforms that a shared builder needs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github.inputs import REFUSED
from ci_buildx.ci.github.workflow import WorkflowJob, WorkflowStep
from ci_buildx.ci.migration.document import move_entry, render_entry
from ci_buildx.model.record import dataclass

_RENAMED = {"config-inline": "buildkitd-config-inline", "config": "buildkitd-config"}
"""Names of setup-buildx-action 3 and older, and their successors."""
_OF_SETUP_ONLY = ("use", "cleanup")
_KEPT_OPTIONS = re.compile(r"\s*(\"?(image|env\.[\w-]+|default-load|qemu\.\w+)=.*|#.*|)")
"""Options of the docker-container driver that mean the same to the kubernetes driver."""
_EXPRESSION = "${{"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderInputs:
    """Inputs as lines of YAML by name, and remarks on those that are gone."""

    lines: dict[str, list[str]]
    remarks: tuple[str, ...]
    doubts: tuple[str, ...]


def convert_inputs(step: WorkflowStep, indent: int, *, setup: bool) -> BuilderInputs:
    """Convert the inputs of a setup-buildx step for the setup step (``setup``) or for a build."""
    known = {option.name for option in offered.OF_SETUP}
    lines: dict[str, list[str]] = {}
    remarks: list[str] = []
    doubts: list[str] = []
    kubernetes = step.read_input("driver") == "kubernetes"
    for given, entry in step.inputs.items():
        name = _RENAMED.get(given, given)
        if name == "driver":
            if not kubernetes:
                remarks.append(f"driver {step.read_input(given)} is removed: builders run on Kubernetes")
        elif name == "driver-opts" and not kubernetes:
            kept, gone = _split_options(step.read_input(given))
            remarks += [_explain_option(option) for option in gone]
            unread = [line for line in kept.splitlines() if not _KEPT_OPTIONS.fullmatch(line)]
            doubts += [f"check that driver-opts {line} still applies" for line in unread]
            if kept and not gone:
                lines[name] = move_entry(step.document, entry, name, indent)
            elif kept:
                lines[name] = render_entry(name, kept, indent)
        elif name in known and (setup or name not in _OF_SETUP_ONLY):
            lines[name] = move_entry(step.document, entry, name, indent)
        else:
            hint = REFUSED.get(name, "it is not supported").removeprefix("omit it: ")
            remarks.append(f"{given} is removed, {hint}")
    return BuilderInputs(lines=lines, remarks=tuple(remarks), doubts=tuple(doubts))


def _split_options(text: str) -> tuple[str, list[str]]:
    """Return the driver options that stay, one a line, and those of docker's own drivers."""
    options = [part for line in text.splitlines() for part in _split_line(line)]
    kept = [option for option in options if _KEPT_OPTIONS.fullmatch(option) or _EXPRESSION in option]
    return "\n".join(kept).strip(), [option for option in options if option not in kept]


def _split_line(line: str) -> list[str]:
    text = line.strip()
    if '"' in text or _EXPRESSION in text or text.startswith("#"):
        return [text]
    return [part.strip() for part in text.split(",")]


def _explain_option(option: str) -> str:
    if option.startswith("network"):
        return f"driver-opt {option} is removed: BuildKit runs in a pod and not on the runner's network"
    return f"driver-opt {option} is removed: the kubernetes driver does not have it; see requests.* and limits.*"


def collect_platforms(job: WorkflowJob, setup: WorkflowStep, builds: Iterable[WorkflowStep]) -> str | None:
    """Return all platforms of the builds, or None if an expression has no value yet when the setup step runs."""
    found: dict[str, None] = {}
    for text in [setup.read_input("platforms"), *(build.read_input("platforms") for build in builds)]:
        if not _is_known_at(job, setup, text):
            return None
        parts = [text.strip()] if _EXPRESSION in text else re.split(r"[\s,]+", text)
        found |= dict.fromkeys(part for part in parts if part)
    several = any(_EXPRESSION in part for part in found) and len(found) > 1
    return ("\n" if several else ",").join(found)


def _is_known_at(job: WorkflowJob, setup: WorkflowStep, text: str) -> bool:
    """Return whether the expressions of a text have their values before a step."""
    before = {step.id for step in job.steps[: setup.index] if step.id}
    if any(name not in before for name in re.findall(r"steps\.([\w-]+)", text)):
        return False
    names = re.findall(r"env\.(\w+)", text)
    later = "\n".join(step.run for step in job.steps[setup.index :])
    return not any(re.search(rf"\b{name}\b", later) and "GITHUB_ENV" in later for name in names)
