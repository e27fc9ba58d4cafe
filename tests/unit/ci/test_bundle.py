"""What users write against: action.yml and the template say the same as the table of options, and are valid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.ci import github, gitlab
from ci_buildx.settings import assembly, options
from ci_buildx.settings.option import Kind, Option, Surface

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "gitlab-template" / "kube-builder.yml"
OF_THE_JOB = {"job-name", "stage", "image"}
"""Inputs of the template about the job itself."""
OF_ISSUE = {"context", "file", "platforms", "tags", "push", "build-args", "secrets", "driver-opts", "kubeconfig"}


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "action.yml").read_text()))


@pytest.fixture(scope="module")
def template() -> tuple[dict[str, Any], dict[str, Any]]:
    spec, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return spec["spec"]["inputs"], jobs


def test_the_actions_inputs_are_those_of_the_table(action: dict[str, Any]) -> None:
    assert set(action["inputs"]) - set(github.OF_WRAPPER) == {option.name for option in table(Surface.GITHUB)}
    assert set(action["inputs"]) >= {*OF_ISSUE, *github.OF_WRAPPER}
    assert set(action["outputs"]) == {"digest", "imageid", "metadata"}


@pytest.mark.parametrize("option", options.on_surface(Surface.GITHUB), ids=lambda option: str(option.name))
def test_the_actions_defaults_are_those_of_the_table(option: Option, action: dict[str, Any]) -> None:
    given = action["inputs"][option.name]
    assert given.get("default", option.default) == option.default
    check_description(given["description"], option)


def test_the_templates_inputs_are_those_of_the_table(template: tuple[dict[str, Any], Any]) -> None:
    assert set(template[0]) - OF_THE_JOB == {option.name for option in table(Surface.GITLAB)}


@pytest.mark.parametrize("option", options.on_surface(Surface.GITLAB), ids=lambda option: str(option.name))
def test_the_templates_inputs_mean_the_same(option: Option, template: tuple[dict[str, Any], Any]) -> None:
    spec = template[0][option.name]
    check_description(spec["description"], option)
    if option.repeatable:
        assert (spec["type"], spec["default"]) == ("array", [])
    elif option.kind is Kind.SWITCH:
        assert spec["type"] == "boolean"
        assert str(spec["default"]).lower() == option.default
    else:
        assert spec.get("type", "string") == "string"
        assert spec["default"] in ("", option.default)
    if "options" in spec:
        assert set(spec["options"]) <= set(option.choices)


def test_each_input_reaches_its_variable(template: tuple[dict[str, Any], dict[str, Any]]) -> None:
    variables = template[1][".kube-builder"]["variables"]
    assert variables == {option.variable: f"$[[ inputs.{option.name} ]]\n" for option in table(Surface.GITLAB)}


def test_the_job_uses_the_entry_points_files(template: tuple[Any, dict[str, Any]]) -> None:
    job = template[1][".kube-builder"]
    assert (job["script"], job["after_script"]) == (["kube-builder ci"], ["kube-builder ci --post"])
    assert job["artifacts"] == {"paths": [gitlab.METADATA], "reports": {"dotenv": gitlab.REPORT}}


def test_the_templates_defaults_are_those_of_no_input(template: tuple[dict[str, Any], Any], cwd: Path) -> None:
    """As GitLab expands them: strings as they are, everything else as JSON."""
    env = {}
    for option in table(Surface.GITLAB):
        default = template[0][option.name]["default"]
        env[option.variable] = f"{default if isinstance(default, str) else str(default).lower()}\n"
    with gitlab.inputs(env) as (values, sources):
        assert assembly.settings_from(values, sources, {}, cwd) == assembly.settings_from({}, {}, {}, cwd)


def test_action_yml_is_valid() -> None:
    validate("vendor.github-actions", ROOT / "action.yml")


def test_workflows_are_valid() -> None:
    validate("vendor.github-workflows", *(ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_template_is_valid(tmp_path: Path) -> None:
    """The schema knows one document: header and jobs apart."""
    for number, document in enumerate(TEMPLATE.read_text().split("\n---\n")):
        part = tmp_path / f"part-{number}.yml"
        part.write_text(document)
        validate("vendor.gitlab-ci", part)


def table(surface: Surface) -> tuple[Option, ...]:
    return options.on_surface(surface)


def check_description(text: str, option: Option) -> None:
    """One line without a colon, and every default that the table knows is told."""
    assert "\n" not in text.strip()
    if "(default " in text and option.default:
        assert option.default in text


def validate(schema: str, *files: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
