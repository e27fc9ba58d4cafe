"""A workflow, or a composite action, as a graph: jobs, their steps, and who refers to whose outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from ci_buildx.ci.migration.document import Entry, Node, YamlDocument, list_items, read_scalars
from ci_buildx.errors import InputError

_PEER = re.compile(r"docker/(?P<name>login|setup-qemu|setup-buildx|metadata|build-push|bake)-action@(?P<version>.+)")
_LOCAL = "./"
_HARMLESS = re.compile(
    r"actions/(checkout|cache|upload-artifact|download-artifact|setup-[a-z]+|github-script|create-github-app-token)(/.*)?@.*"
    r"|docker/(setup-(qemu|buildx|docker)|metadata|login)-action@.*|codecov/codecov-action@.*"
    r"|softprops/action-gh-release@.*|peter-evans/dockerhub-description@.*|christian-korneck/update-container-.*"
    r"|github/codeql-action/.*|(step-security/harden-runner|jlumbroso/free-disk-space|dorny/paths-filter)@.*"
)
_TOOLS = re.compile(
    r"\b(docker|podman|buildah|skopeo|crane|cosign|oras|helm|regctl|trivy|syft|grype|notation|nerdctl|goreleaser|ko|"
    r"earthly|dagger|kubectl|make|just|task|mise|npm|pnpm|yarn|gradlew?|mvnw?|python3?|bash|sh|nix)\b|\.sh\b|(?m:^\s*\./)"
)
_BUILDERS = re.compile(
    r"\bdocker\s+(buildx|build|compose|image\s+build|bake)\b|\bdocker-compose\b|(?m:^\s*buildx\b)"
    r"|\b(buildah|make|goreleaser|earthly|dagger|just|task|mise|kind|act)\s|\.sh\b"
)
_EMULATED = re.compile(r"\b(docker|podman)\s+(run|create)\b|\bqemu\b|binfmt")
_BUILDING_ACTIONS = re.compile(r"docker|buildx|bake|image|container|earthly|goreleaser|dagger", re.IGNORECASE)


class WorkflowStep:
    """A step: its entries, and the range of its lines."""

    def __init__(self, document: YamlDocument, node: Node, index: int) -> None:
        self.document, self.node, self.index = document, node, index
        self.entries = document.read_entries(node)
        self.first = document.find_dash(node)
        self.last = document.find_end(node)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The step's own keys with scalar values."""
        return read_scalars(self.document, self.node)

    @cached_property
    def inputs(self) -> dict[str, Entry]:
        """The entries of ``with``."""
        return self.document.read_entries(self.document.get_value(self.node, "with"))

    @cached_property
    def env(self) -> dict[str, Entry]:
        """The entries of ``env``."""
        return self.document.read_entries(self.document.get_value(self.node, "env"))

    def read_input(self, name: str) -> str:
        """Return an input's text, or an empty one."""
        entry = self.inputs.get(name)
        return str(entry.value.value) if entry is not None and entry.value.id == "scalar" else ""

    @property
    def line(self) -> int:
        """The step's line in the file, from 1."""
        return self.document.locate(self.first)

    @property
    def id(self) -> str:
        """The step's id, or an empty text."""
        return self.texts.get("id", "")

    @property
    def uses(self) -> str:
        """The action, or an empty text."""
        return self.texts.get("uses", "")

    @property
    def run(self) -> str:
        """The script, or an empty text."""
        return self.texts.get("run", "")

    @property
    def condition(self) -> str:
        """The condition, without its delimiters and outer blanks."""
        text = self.texts.get("if", "").strip()
        return text.removeprefix("${{").removesuffix("}}").strip() if text.startswith("${{") else text

    @property
    def peer(self) -> str:
        """The name of docker's action, such as ``login``, or an empty text."""
        found = _PEER.fullmatch(self.uses.strip())
        return found["name"] if found else ""

    @property
    def title(self) -> str:
        """How the report names the step."""
        return self.uses.partition("@")[0] or f"run {self.texts.get('name', '')!r}"

    @property
    def is_shared(self) -> bool:
        """Whether the step has anchors, aliases or merge keys, so that an edit would reach other places."""
        inside = any(self.first <= line < self.last for line in self.document.shared_lines)
        return inside or not self.first <= self.node.start_mark.line < max(self.last, self.first + 1)

    @property
    def is_block(self) -> bool:
        """Whether the step is in block style, which edits of lines need."""
        return not self.node.flow_style

    @property
    def may_need_login(self) -> bool:
        """Whether the step may talk to a registry with docker's logins."""
        if self.uses:
            return not _HARMLESS.fullmatch(self.uses)
        return bool(_TOOLS.search(self.run))

    @property
    def may_build(self) -> bool:
        """Whether the step may use buildx."""
        if self.peer:
            return self.peer in ("bake", "build-push")
        if self.uses:
            return self.uses.startswith(_LOCAL) or bool(_BUILDING_ACTIONS.search(self.uses.partition("@")[0]))
        return bool(_BUILDERS.search(self.run))

    @property
    def may_emulate(self) -> bool:
        """Whether the step may run programs of another architecture on the runner."""
        return self.may_build or bool(_EMULATED.search(self.run))


class WorkflowJob:
    """A job: its steps in order, and the range of its lines. A composite action is a job of its own."""

    def __init__(self, document: YamlDocument, name: str, node: Node, first: int, last: int) -> None:
        self.document, self.name, self.node = document, name, node
        self.first, self.last = first, last
        self.entries = document.read_entries(node)
        steps = document.get_value(node, "steps")
        self.is_block = steps is not None and steps.id == "sequence" and not steps.flow_style and self._owns_steps()
        self.steps = [
            WorkflowStep(document, item, index)
            for index, item in enumerate(list_items(steps) if self.is_block else ())
            if item.id == "mapping"
        ]

    def _owns_steps(self) -> bool:
        """Return whether the steps are written in this job, and no other job has them."""
        return not {self.first, self.entries["steps"].first} & self.document.shared_lines

    @property
    def line(self) -> int:
        """The job's line in the file, from 1."""
        return self.document.locate(self.first)

    @property
    def runner(self) -> str:
        """The text of ``runs-on``."""
        entry = self.entries.get("runs-on")
        return "" if entry is None else self.document.cut(entry.first, entry.last).partition(":")[2].strip()

    def list_steps(self, *peers: str) -> list[WorkflowStep]:
        """Return the steps with docker's actions of these names."""
        return [step for step in self.steps if step.peer in peers]

    def find_reference(self, step: str, *, without: Iterable[tuple[int, int]]) -> int | None:
        """Return the first line, from 1, that refers to a step's results outside of the ranges, or None."""
        pattern = match_step(step)
        ranges = list(without)
        for number in range(self.first, self.last):
            if any(first <= number < last for first, last in ranges):
                continue
            if pattern.search(self.document.lines[number]):
                return self.document.locate(number)
        return None


def match_step(step: str) -> re.Pattern[str]:
    """Return a pattern for references to a step in expressions."""
    return re.compile(rf"steps(\.{re.escape(step)}(?![\w-])|\[\s*['\"]{re.escape(step)}['\"]\s*\])", re.IGNORECASE)


class Workflow:
    """A workflow or a composite action. Raises InputError for other files."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        whole = (0, len(document.lines))
        runs = document.get_value(document.root, "runs")
        self.is_action = runs is not None and document.get_value(document.root, "jobs") is None
        jobs = document.read_entries(document.get_value(document.root, "jobs"))
        if not jobs and not self.is_action:
            raise InputError("has no jobs", source=document.source, fix="name a file of .github/workflows")
        self.jobs = (
            [WorkflowJob(document, "runs", runs, *whole)]
            if self.is_action
            else [WorkflowJob(document, name, one.value, one.first, one.last) for name, one in jobs.items()]
        )

    @property
    def is_reusable(self) -> bool:
        """Whether other workflows call this one."""
        on = self.document.get_value(self.document.root, "on")
        return "workflow_call" in self.document.read_entries(on) or (
            on is not None and on.id == "sequence" and any(item.value == "workflow_call" for item in on.value)
        )
