"""The code blocks of README and docs, and what the tests do with each: run it, parse it, or say why not.

Blocks are known by what is in them, not by their page: pages may move.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
REGISTRY = "registry.example"
"""The registry of the pages, for which the devcluster's stands in."""
PRODUCT = "org/kube-builder"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Treatment(StrEnum):
    """What the tests do with a block."""

    RUN = "run"
    PARSED = "parsed"
    LEFT = "left alone"


class Judgement(NamedTuple):
    """A treatment, and by which test or for which reason."""

    treatment: Treatment
    why: str


@dataclass(frozen=True)
class Snippet:
    """One code block; ``number`` counts the blocks of its page."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}#{self.number} {' '.join(self.text.split())[:50]}"

    def documents(self) -> list[Any]:
        """The documents of YAML."""
        return list(yaml.safe_load_all(self.text))


def find_snippets(*languages: str) -> list[Snippet]:
    """Every block, or those of some languages."""
    return [
        Snippet(page, number, found["language"], re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE))
        for page in PAGES
        for number, found in enumerate(_FENCE.finditer(page.read_text()), 1)
        if not languages or found["language"] in languages
    ]


def judge(snippet: Snippet) -> Judgement | None:
    """What happens to a block; None if nobody has thought of it."""
    return _JUDGES[snippet.language](snippet) if snippet.language in _JUDGES else None


_EXAMPLES = "tests/unit/docs/test_examples.py"
_RUNS = "tests/e2e/test_documented.py"
_HERE = "tests/unit/docs/test_blocks.py"

_PIPELINE_INPUTS = {"platforms", "push", "tags", "context", "job-name", "stage", "build-args", "labels", "timeline"}
_LOGIN = {"registry", "username", "password"}
_STEP_INPUTS = {"context", "kubeconfig", "platforms", "tags", "images", "push", "build-args", "labels"} | _LOGIN
_OPTIONS = {"--platform", "--tag", "-t", "--push", "--print", "--label", "--build-arg", "--progress", "--check"}


def find_pipeline(snippet: Snippet) -> dict[str, Any] | None:
    """A GitLab pipeline that is nothing but includes of the product, with inputs that need nothing else."""
    if snippet.language != "yaml":
        return None
    documents = snippet.documents()
    if len(documents) != 1 or not isinstance(documents[0], dict) or set(documents[0]) != {"include"}:
        return None
    entries = documents[0]["include"]
    ours = [entry for entry in entries if PRODUCT in str(entry.get("component", entry.get("project", "")))]
    fits = all(set(entry.get("inputs", {})) <= _PIPELINE_INPUTS for entry in entries)
    return documents[0] if ours == entries and fits else None


def find_workflow(snippet: Snippet) -> dict[str, Any] | None:
    """A GitHub workflow, or steps of one, of nothing but the checkout and the product."""
    if snippet.language != "yaml":
        return None
    documents = snippet.documents()
    document = documents[0] if len(documents) == 1 else None
    if isinstance(document, list):
        document = {"steps": document}
    if not isinstance(document, dict):
        return None
    if "steps" in document:
        document = {"jobs": {"image": {"runs-on": "ubuntu-24.04", **document}}}
    jobs = document.get("jobs", {})
    if not isinstance(jobs, dict) or len(jobs) != 1 or set(document) - {"jobs", "on", True, "name"}:
        return None
    (job,) = jobs.values()
    known = str(job.get("runs-on", "")).startswith("ubuntu-") and set(job) <= {"runs-on", "steps", "permissions"}
    return document if known and _fits_steps(job["steps"]) else None


def _fits_steps(steps: list[dict[str, Any]]) -> bool:
    ours = [step for step in steps if step.get("uses", "").startswith(f"{PRODUCT}@")]
    others = [step for step in steps if not step.get("uses", "").startswith(("actions/checkout@", f"{PRODUCT}@"))]
    fits = all(
        set(step) <= {"uses", "with", "id", "name"} and set(step.get("with", {})) <= _STEP_INPUTS for step in ours
    )
    return bool(ours) and not others and fits


def list_commands(snippet: Snippet) -> list[str]:
    """The commands of a shell's block, without prompts, comments and continued lines."""
    lines = snippet.text.replace("\\\n", " ").splitlines()
    found = [" ".join(line.removeprefix("$ ").split()) for line in lines]
    return [line for line in found if line and not line.startswith("#")]


def can_run(command: str) -> bool:
    """Whether a command builds with nothing but a context, a cluster and a registry, or sets variables for that."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return False
    if words[:1] == ["export"]:
        return all(word.startswith("KUBE_BUILDER_") for word in words[1:])
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    return words[:2] == ["kube-builder", "build"] and words[-1:] == ["."] and options <= _OPTIONS


_NOT_HERE = {
    r"git clone|cd kube-builder|dev/setup\.sh|^make ": "what CI runs itself, on a machine of its own",
    r"^(pip|pipx|python\S*|uv) .*install|^uv |^pipx |\bpip install|-m venv|^ln -s ": "needs the published package",
    r"\bkubectl\b|^helm |^kind ": "needs kubectl; tests/integration/rights applies the files that it names",
    r"\bdocker\b|\bbuildx\b": "is docker's command, to compare with",
    r"^(gcloud|aws|az|glab|gh|curl|base64|export|unset|cat|echo|grep|source|eval|\.)\b": "is the shell around it",
    r"^([A-Z_]+=\S* )*kube-builder ": f"needs a builder, secrets or rights of its own; parsed by {_EXAMPLES}",
}


def explain_command(command: str) -> str:
    """Why a command is not run, "" if nobody has thought of it."""
    return next((reason for pattern, reason in _NOT_HERE.items() if re.search(pattern, command)), "")


def _judge_yaml(snippet: Snippet) -> Judgement:
    if find_pipeline(snippet):
        return Judgement(Treatment.RUN, f"{_RUNS}::test_a_pipeline_runs_as_the_page_has_it")
    if find_workflow(snippet):
        return Judgement(Treatment.RUN, f"{_RUNS}::test_a_workflow_runs_as_the_page_has_it")
    return Judgement(Treatment.PARSED, f"{_EXAMPLES}: inputs, variables and schemas")


def _judge_shell(snippet: Snippet) -> Judgement | None:
    commands = list_commands(snippet)
    runnable = [command for command in commands if can_run(command)]
    if any(command.startswith("kube-builder ") for command in runnable):
        return Judgement(Treatment.RUN, f"{_RUNS}::test_commands_run_as_the_page_has_them")
    if "<<" in snippet.text and "kubectl " in snippet.text:
        return Judgement(Treatment.LEFT, explain_command("kubectl"))
    reasons = [explain_command(command) for command in commands]
    if not all(reasons):
        return None
    if any(re.search(r"(^|\s)kube-builder ", command) for command in commands):
        return Judgement(Treatment.PARSED, _EXAMPLES)
    return Judgement(Treatment.LEFT, "; ".join(dict.fromkeys(reasons)))


def _judge_as_parsed(test: str) -> Any:
    return lambda _: Judgement(Treatment.PARSED, test)


def _judge_as_left(reason: str) -> Any:
    return lambda _: Judgement(Treatment.LEFT, reason)


_JUDGES: dict[str, Any] = {
    "yaml": _judge_yaml,
    "sh": _judge_shell,
    "console": _judge_shell,
    "hcl": _judge_as_parsed(f"{_HERE}: bake's own parser reads it"),
    "json": _judge_as_parsed(f"{_EXAMPLES}: it is JSON"),
    "toml": _judge_as_parsed(f"{_EXAMPLES}: it is TOML"),
    "groovy": _judge_as_parsed(f"{_HERE}: the shell steps of a Jenkinsfile run kube-builder commands"),
    "dockerfile": _judge_as_parsed(f"{_HERE}: each line is an instruction"),
    "text": _judge_as_left("output or a drawing, not code"),
    "": _judge_as_left("output or a drawing, not code"),
}


def list_judgements() -> Iterator[tuple[Snippet, Judgement | None]]:
    """Every block with what happens to it."""
    return ((snippet, judge(snippet)) for snippet in find_snippets())
