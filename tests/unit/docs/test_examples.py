"""The examples of the pages work: commands are understood, inputs are offered, files are what their readers take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.ci import inputs
from ci_buildx.cli import main
from ci_buildx.settings import options
from ci_buildx.settings.option import OptionSurface
from tests.unit.docs.examples import (
    ACTIONS,
    PAGES,
    ROOT,
    Example,
    commands,
    examples,
    is_bake,
    is_merge,
    parts,
    split_shell_line,
)

TEMPLATE = ROOT / "gitlab-template" / "kube-builder.yml"
MERGE_TEMPLATE = ROOT / "gitlab-template" / "merge.yml"
BAKE_TEMPLATE = ROOT / "gitlab-template" / "bake.yml"
VARIABLES = re.compile(r"\bKUBE_BUILDER_[A-Z][A-Z_]*[A-Z]\b")
_OPEN = ("…", "[", "VERB")
"""What a command has that is only the outline of one."""


FILES = examples("yaml", "json", "toml")


def test_a_line_is_split_as_in_a_shell() -> None:
    line = """A=b kube-builder doctor --roles jobs | kubectl apply -f - && kube-builder rm '"a|b"'   # twice"""
    assert split_shell_line(line) == [
        ["kube-builder", "doctor", "--roles", "jobs"],
        ["kubectl", "apply", "-f", "-"],
        ["kube-builder", "rm", '"a|b"'],
    ]


@pytest.mark.parametrize("command", sorted({one for one in commands() if not any(mark in one for mark in _OPEN)}))
def test_commands_are_understood(command: str) -> None:
    verb, arguments = main.find_verb(shlex.split(command, comments=True)[1:])
    if verb not in main.VERBS:  # It only prints help.
        return
    module = main.import_verb(verb)
    if verb == "exec" and "--" in arguments:  # The rest is another program's.
        arguments = arguments[: arguments.index("--")]
    if hasattr(module, "make_parser") and "--help" not in arguments:
        module.make_parser().read(arguments)


def test_there_are_commands() -> None:
    verbs = {command.split()[1] for command in commands()}
    assert {"build", "create", "rm", "doctor", "reap", "migrate"} <= verbs


@pytest.mark.parametrize("example", FILES, ids=str)
def test_files_are_well_formed(example: Example) -> None:
    assert all(document is not None for document in example.documents())


@pytest.mark.parametrize(
    "example", [one for one in FILES if "org/kube-builder" in one.text and "uses:" in one.text], ids=str
)
def test_steps_have_inputs_of_the_action(example: Example) -> None:
    steps = [part for document in example.documents() for part in parts(document) if "uses" in part]
    ours = [step for step in steps if step["uses"].partition("@")[0] in ACTIONS]
    assert ours
    for step in ours:
        action, _, version = step["uses"].partition("@")
        assert re.fullmatch(r"v1(\.2\.3)?", version)  # the second is one release, for what belongs to one
        offered = yaml.safe_load(ACTIONS[action].read_text())["inputs"]
        assert set(step.get("with", {})) <= set(offered)


@pytest.mark.parametrize("example", [one for one in FILES if "inputs:" in one.text], ids=str)
def test_includes_have_inputs_of_the_template(example: Example) -> None:
    templates = (TEMPLATE, MERGE_TEMPLATE, BAKE_TEMPLATE)
    both = {file: next(yaml.safe_load_all(file.read_text()))["spec"]["inputs"] for file in templates}
    kinds = {"array": list, "boolean": bool, "string": str, "number": int}
    for document in example.documents():
        for part in parts(document):
            offered = both[MERGE_TEMPLATE if is_merge(part) else BAKE_TEMPLATE if is_bake(part) else TEMPLATE]
            for name, value in part.get("inputs", {}).items():
                assert isinstance(value, kinds[offered[name].get("type", "string")]), name


def test_variables_are_known() -> None:
    """Those of options, of what a job leaves and of what it is told besides: the code or the template has each."""
    sources = "\n".join(path.read_text() for path in [*(ROOT / "ci_buildx").rglob("*.py"), TEMPLATE])
    known = {option.variable for surface in OptionSurface for option in inputs.list_inputs(surface)}
    known |= {option.variable for option in options.OPTIONS} | set(VARIABLES.findall(sources))
    named = {(page.name, name) for page in PAGES for name in VARIABLES.findall(page.read_text())}
    assert named
    assert {pair for pair in named if pair[1] not in known} == set()


def test_workflows_and_pipelines_are_what_their_systems_take(tmp_path: Path) -> None:
    """Fragments with what goes around them."""
    files: dict[str, list[Path]] = {"vendor.github-workflows": [], "vendor.gitlab-ci": []}
    for number, example in enumerate(one for one in FILES if one.language == "yaml"):
        (document, *_) = example.documents()
        schema, whole = completed(document)
        if schema:
            path = tmp_path / f"{number}-{example.page.stem}.yml"
            path.write_text(yaml.safe_dump(whole))
            files[schema].append(path)
    for schema, paths in files.items():
        assert len(paths) > 3
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def completed(document: Any) -> tuple[str, Any]:
    """The schema that an example is held to, "" for none, and the document as a whole file."""
    if isinstance(document, list) and all("uses" in step or "run" in step for step in document):
        document = {"steps": document}
    if "steps" in document and isinstance(document["steps"], list) and "uses" in document["steps"][0]:
        document = {"jobs": {"image": {"runs-on": "ubuntu-24.04", **document}}}
    if "jobs" in document:
        named = {"on" if key is True else key: value for key, value in document.items()}  # YAML 1.1's "on"
        return "vendor.github-workflows", {"on": "push", **named}
    if "include" in document or "variables" in document or any("script" in part for part in parts(document)):
        return "vendor.gitlab-ci", document
    return "", document
