"""What users write against: action.yml and the template say the same as the table of options, and are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import __main__ as bundle
from bundle import describe
from bundle.gitlab import ONE_LINE, PATTERNS
from ci_buildx.ci import inputs
from ci_buildx.ci.gitlab import defaults, reports
from ci_buildx.ci.gitlab import inputs as gitlab
from ci_buildx.ci.gitlab.inputs import DEFAULTS
from ci_buildx.settings import assembly
from ci_buildx.settings.option import Kind, Option, Surface

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "gitlab-template" / "kube-builder.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "tests" / "e2e" / "workflows").glob("*.yml"))
OF_THE_JOB = {"job-name", "stage", "image"}
"""Inputs of the template about the job itself."""
OF_ISSUE = {"context", "file", "platforms", "tags", "push", "build-args", "secrets", "driver-opts", "kubeconfig"}
COMPONENT = ROOT / "templates" / "kube-builder.yml"


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "action.yml").read_text()))


@pytest.fixture(scope="module")
def template() -> tuple[dict[str, Any], dict[str, Any]]:
    spec, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return spec["spec"]["inputs"], jobs


def test_the_committed_files_are_what_the_table_says() -> None:
    assert not bundle.stale(), "run `make bundle`"


def test_the_actions_inputs_are_those_of_the_table(action: dict[str, Any]) -> None:
    assert list(action["inputs"]) == [option.name for option in inputs.on_surface(Surface.GITHUB)]
    assert set(action["inputs"]) >= {*OF_ISSUE, "python"}
    assert set(action["outputs"]) >= {"digest", "imageid", "metadata"}


def test_each_input_of_the_template_reaches_the_job(template: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """By a variable that hides none of the user's, even if it is empty."""
    offered = inputs.on_surface(Surface.GITLAB)
    assert set(template[0]) - OF_THE_JOB == {option.name for option in offered}
    assert template[1][".kube-builder"]["variables"] == {
        gitlab.of_input(name): f"$[[ inputs.{name} ]]\n" for name in ("job-name", *(option.name for option in offered))
    }
    assert not {option.variable for option in offered} & template[1][".kube-builder"]["variables"].keys()


def test_no_input_of_an_action_has_a_default_that_would_hide_its_variable() -> None:
    for file in ("action.yml", "setup/action.yml"):
        found = yaml.safe_load((ROOT / file).read_text())["inputs"]
        assert {name for name, one in found.items() if "default" in one} <= {"github-token"}


@pytest.mark.parametrize("option", inputs.BY_NAME.values(), ids=lambda option: str(option.name))
def test_a_description_is_one_line_and_tells_the_default(option: Option) -> None:
    text = describe.sentence(option)
    assert "\n" not in text
    assert "${{" not in text, "a runner expands expressions in descriptions, and fails"
    assert option.kind is Kind.SWITCH or f"default: {option.default}" in text or option.otherwise in text


def test_the_defaults_that_a_system_has_are_told_there() -> None:
    github = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert "(default: the repository at the event's commit, as a git URL)" in github["context"]["description"]
    assert "public repository mode=max" in github["provenance"]["description"]
    assert "auto is github" in github["progress"]["description"]
    spec = next(yaml.safe_load_all(TEMPLATE.read_text()))["spec"]["inputs"]
    assert "(default: .)" in spec["context"]["description"]
    assert "the job's time-out" in spec["lifetime"]["description"]


def test_the_job_uses_the_entry_points_files(template: tuple[Any, dict[str, Any]]) -> None:
    job = template[1][".kube-builder"]
    assert (job["script"], job["after_script"]) == (["kube-builder ci"], ["kube-builder ci --post"])
    assert job["artifacts"] == {
        "when": "always",
        "paths": [
            reports.METADATA,
            reports.of_job(reports.METADATA, "$CI_JOB_NAME_SLUG"),
            "$[[ inputs.timeline ]]",
            reports.of_job(defaults.TIMELINE, "$CI_JOB_NAME_SLUG"),
        ],
        "reports": {"dotenv": reports.DOTENV, "codequality": reports.CODE_QUALITY},
    }


def test_the_templates_defaults_are_those_of_no_input(template: tuple[dict[str, Any], Any], cwd: Path) -> None:
    """As GitLab expands them: strings as they are, everything else as JSON."""
    env = {}
    for option in inputs.on_surface(Surface.GITLAB):
        default = template[0][option.name]["default"]
        env[gitlab.of_input(option.name)] = f"{default if isinstance(default, str) else str(default).lower()}\n"
    given, nothing = (defaults.fill(gitlab.read(variables, cwd), folder=cwd) for variables in (env, {}))
    settings = assembly.settings_from(given.of_build(), given.sources, {}, cwd)
    assert settings == assembly.settings_from(nothing.of_build(), nothing.sources, {}, cwd)


def test_patterns_take_what_is_right() -> None:
    examples = {"lifetime": "1h30m", "namespace": "ci", "timeline": "build.svg", "oidc": "env:TOKEN"}
    assert examples.keys() == PATTERNS.keys()
    for name, text in examples.items():
        assert accepts(PATTERNS[name], text)
        assert accepts(PATTERNS[name], DEFAULTS.get(name, ""))
    for text in ("", "{replicas: 2}", "debug = true", "ci.kubeconfig", "größe, 'a' \"b\" [c]\t#"):
        assert accepts(ONE_LINE, text)
    assert not accepts(PATTERNS["lifetime"], "soon")
    assert not accepts(PATTERNS["namespace"], "No_Name")
    assert not accepts(PATTERNS["timeline"], "build.png")


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("file", [TEMPLATE, COMPONENT], ids=lambda file: file.parent.name)
def test_no_text_of_an_input_can_end_its_block(file: Path, line_break: str) -> None:
    """GitLab pastes it into the file: a second line would add what it likes to the job."""
    found = next(iter(yaml.safe_load_all(file.read_text())))["spec"]["inputs"]
    texts = {name: one for name, one in found.items() if one.get("type", "string") == "string" and "options" not in one}
    assert len(texts) == 25
    for name, one in texts.items():
        good = {"lifetime": "1h", "timeline": "a.svg", "namespace": "a"}.get(name, "a")
        assert accepts(one["regex"], good), name
        for text in (line_break, f"{line_break}{good}", f"{good}{line_break}", f"{good}{line_break}  before_script: x"):
            assert not accepts(one["regex"], text), name
        assert not accepts(one["regex"], f"a{line_break}{good}"), name
        assert not re.search(r"\\[uzZA]|\(\?[=!<]", one["regex"]), "RE2 has none of these"


def accepts(pattern: str, text: str) -> bool:
    """Whether GitLab takes the text: RE2's ``$`` and ``\\x{…}`` in Python's words."""
    python = re.sub(r"\\x\{(\w+)\}", lambda found: chr(int(found[1], 16)), pattern.removesuffix("$"))
    return re.search(rf"{python}\Z", text, re.ASCII) is not None


def test_the_component_is_the_template() -> None:
    """GitLab reads both; only what stands above them differs."""
    assert list(yaml.safe_load_all(COMPONENT.read_text())) == list(yaml.safe_load_all(TEMPLATE.read_text()))


def test_action_yml_is_valid() -> None:
    validate("vendor.github-actions", ROOT / "action.yml")


def test_the_setups_action_yml_is_valid() -> None:
    validate("vendor.github-actions", ROOT / "setup" / "action.yml")


def test_workflows_are_valid() -> None:
    validate("vendor.github-workflows", *WORKFLOWS, *EXAMPLES)


def test_zizmor_finds_nothing_in_what_runs_for_users() -> None:
    audit(ROOT / "action.yml", ROOT / "setup" / "action.yml", *WORKFLOWS)


def test_zizmor_finds_nothing_in_the_examples() -> None:
    audit("--config", ROOT / "tests" / "e2e" / "workflows" / "zizmor.yaml", *EXAMPLES)


def test_the_template_is_valid(tmp_path: Path) -> None:
    """The schema knows one document: header and jobs apart."""
    for number, document in enumerate(TEMPLATE.read_text().split("\n---\n")):
        part = tmp_path / f"part-{number}.yml"
        part.write_text(document)
        validate("vendor.gitlab-ci", part)


def audit(*arguments: Path | str) -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--no-progress", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def validate(schema: str, *files: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
