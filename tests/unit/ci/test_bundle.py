"""What users write against: action.yml and the template say the same as the table of options, and are valid."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from bundle import __main__ as bundle
from bundle import describe
from bundle.gitlab import PATTERNS
from ci_buildx.ci import bake_inputs, inputs
from ci_buildx.ci.gitlab import inputs as gitlab
from ci_buildx.ci.gitlab import job as gitlab_job
from ci_buildx.ci.gitlab.inputs import DEFAULTS
from ci_buildx.settings import assembly
from ci_buildx.settings.option import Option, OptionKind, OptionSurface

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "gitlab-template" / "kube-builder.yml"
MERGE_TEMPLATE = ROOT / "gitlab-template" / "merge.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "tests" / "e2e" / "workflows").glob("*.yml"))
OF_THE_JOB = {"job-name", "stage", "image"}
"""Inputs of the template about the job itself."""
OF_ISSUE = {"context", "file", "platforms", "tags", "push", "build-args", "secrets", "driver-opts", "kubeconfig"}
COMPONENT = ROOT / "templates" / "kube-builder.yml"


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    """The content of action.yml."""
    return dict(yaml.safe_load((ROOT / "action.yml").read_text()))


@pytest.fixture(scope="module")
def template() -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs and the jobs of the GitLab template."""
    spec, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return spec["spec"]["inputs"], jobs


def test_the_committed_files_are_what_the_table_says() -> None:
    assert not bundle.stale(), "run `make bundle`"


def test_the_actions_inputs_are_those_of_the_table(action: dict[str, Any]) -> None:
    assert list(action["inputs"]) == [option.name for option in inputs.list_inputs(OptionSurface.GITHUB)]
    assert set(action["inputs"]) >= {*OF_ISSUE, "python"}
    assert set(action["outputs"]) >= {"digest", "imageid", "metadata"}


def test_each_input_of_the_template_reaches_the_job(template: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """By a variable that hides none of the user's, even if it is empty."""
    offered = inputs.list_inputs(OptionSurface.GITLAB)
    assert set(template[0]) - OF_THE_JOB == {option.name for option in offered}
    assert template[1][".kube-builder"]["variables"] == {
        gitlab.name_variable(name): f"$[[ inputs.{name} ]]\n"
        for name in ("job-name", *(option.name for option in offered))
    }
    assert not {option.variable for option in offered} & template[1][".kube-builder"]["variables"].keys()


def test_no_input_of_an_action_has_a_default_that_would_hide_its_variable() -> None:
    for place in bundle.ACTIONS:
        file = f"{place}/action.yml"
        found = yaml.safe_load((ROOT / file).read_text())["inputs"]
        assert {name for name, one in found.items() if "default" in one} <= {"github-token"}


@pytest.mark.parametrize("option", inputs.BY_NAME.values(), ids=lambda option: str(option.name))
def test_a_description_is_one_line_and_tells_the_default(option: Option) -> None:
    text = describe.sentence(option)
    assert "\n" not in text
    assert "${{" not in text, "a runner expands expressions in descriptions, and fails"
    assert option.kind is OptionKind.SWITCH or f"default: {option.default}" in text or option.otherwise in text


def test_the_defaults_that_a_system_has_are_told_there() -> None:
    github = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert "(default: the repository at the event's commit, as a git URL)" in github["context"]["description"]
    assert "mode=max for public repositories" in github["provenance"]["description"]
    assert "auto is github" in github["progress"]["description"]
    spec = next(yaml.safe_load_all(TEMPLATE.read_text()))["spec"]["inputs"]
    assert "(default: .)" in spec["context"]["description"]
    assert "the job's timeout" in spec["lifetime"]["description"]


def test_the_job_uses_the_entry_points_files(template: tuple[Any, dict[str, Any]]) -> None:
    job = template[1][".kube-builder"]
    assert (job["script"], job["after_script"]) == (["kube-builder gitlab"], ["kube-builder gitlab --post"])
    assert job["artifacts"] == {
        "when": "always",
        "paths": [
            gitlab_job.METADATA,
            gitlab_job.name_job_file(gitlab_job.METADATA, "$CI_JOB_NAME_SLUG"),
            "$[[ inputs.timeline ]]",
            gitlab_job.name_job_file(gitlab.TIMELINE, "$CI_JOB_NAME_SLUG"),
        ],
        "reports": {"dotenv": gitlab_job.DOTENV, "codequality": gitlab_job.CODE_QUALITY},
    }


def test_the_templates_defaults_are_those_of_no_input(template: tuple[dict[str, Any], Any], cwd: Path) -> None:
    """As GitLab expands them: strings as they are, everything else as JSON."""
    env = {}
    for option in inputs.list_inputs(OptionSurface.GITLAB):
        default = template[0][option.name]["default"]
        env[gitlab.name_variable(option.name)] = f"{default if isinstance(default, str) else str(default).lower()}\n"
    given, nothing = (gitlab.fill_defaults(gitlab.read_inputs(variables, cwd), folder=cwd) for variables in (env, {}))
    settings = assembly.make_settings(given.select_build_options(), given.sources, {}, cwd)
    assert settings == assembly.make_settings(nothing.select_build_options(), nothing.sources, {}, cwd)


@pytest.mark.parametrize("option", inputs.list_inputs(OptionSurface.GITLAB), ids=lambda option: str(option.name))
def test_no_default_of_the_template_hides_a_variable_of_the_pipeline(
    option: Option, template: tuple[dict[str, Any], dict[str, Any]], cwd: Path
) -> None:
    """With each input as GitLab expands it that the committed file declares, in the job that the template defines."""
    env = {"CI_JOB_NAME": str(template[0]["job-name"]["default"]), option.variable: "from-pipeline"}
    for name, variable in ((name, gitlab.name_variable(name)) for name in template[0].keys() - {"stage", "image"}):
        default = template[0][name]["default"]
        expanded = default if isinstance(default, str) else str(default).lower()
        assert template[1][".kube-builder"]["variables"][variable] == f"$[[ inputs.{name} ]]\n"
        env[variable] = f"{expanded}\n"
    given = gitlab.read_inputs(env, cwd)
    assert (given.values, given.find_source(option.name)) == ({option.name: "from-pipeline"}, option.variable)


def test_patterns_take_what_is_right() -> None:
    examples = {"lifetime": "1h30m", "namespace": "ci", "timeline": "build.svg", "oidc": "env:TOKEN"}
    assert examples.keys() == PATTERNS.keys()
    for name, text in examples.items():
        assert re.search(PATTERNS[name], text)
        assert re.search(PATTERNS[name], DEFAULTS.get(name, ""))
    assert not re.search(PATTERNS["lifetime"], "soon")
    assert not re.search(PATTERNS["namespace"], "No_Name")
    assert not re.search(PATTERNS["timeline"], "build.png")
    assert not re.search(PATTERNS["oidc"], "two words")


LINE_BREAKS = ("\n", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\v", "\f", "\0", "\x1b")
"""Those of YAML 1.1, and characters that no YAML may hold."""


def test_no_string_input_takes_a_second_line(template: tuple[dict[str, Any], Any]) -> None:
    """GitLab puts the text into the file as it is: a second line would be a line of the pipeline."""
    texts = {name: one for name, one in template[0].items() if one.get("type", "string") == "string"}
    patterns = {name: one["regex"] for name, one in texts.items() if "options" not in one}
    assert len(patterns) == 27
    for name, pattern in patterns.items():
        # What RE2, JavaScript and Python read alike; ``$`` is the text's end in the first two.
        assert not re.search(r"\(\?|\\[pPQxu]\{|\\[AzZbBk1-9]", pattern)
        takes = re.compile(f"{pattern.removesuffix('$')}\\Z").search
        default = texts[name]["default"]
        assert takes(default)
        # As arguments: one that the input takes, and what would follow as lines of the file.
        plain = default or {"lifetime": "1h", "namespace": "ci"}.get(name, "a.b")
        assert takes(plain)
        for lines in LINE_BREAKS:
            for text in (
                f"{plain}{lines}",
                f"{plain}{lines}{plain}",
                f"{lines}{plain}",
                f"{plain}{lines}  script: [x]",
            ):
                assert not takes(text), (name, text)


@pytest.mark.parametrize("text", ['a": {script: [x]}, "b', "a\\x0ab", '"', "a\\"])
@pytest.mark.parametrize("name", ["job-name", "stage", "image", "timeline"])
def test_no_input_ends_the_quotes_that_it_is_put_into(
    template: tuple[dict[str, Any], Any], name: str, text: str
) -> None:
    assert f'"$[[ inputs.{name} ]]"' in TEMPLATE.read_text()
    assert not re.search(template[0][name]["regex"], f"{text}.svg")


@given(st.data())
def test_what_an_input_takes_is_one_value_of_the_pipeline(data: st.DataObject) -> None:
    """Whatever text the patterns let through stays one scalar of the file, and the rest of the file as it is."""
    spec, document = TEMPLATE.read_text().split("\n---\n")
    found = yaml.safe_load(spec)["spec"]["inputs"]
    values = {name: one["default"] for name, one in found.items()}
    name = data.draw(st.sampled_from([name for name, one in found.items() if "regex" in one]))
    text = data.draw(st.from_regex(found[name]["regex"].removesuffix("$") + r"\Z", fullmatch=True))
    # GitLab refuses a file with other characters.
    assume(not re.search("[\ud800-\udfff\ufeff\ufffe\uffff]", text))

    def pipeline(values: dict[str, Any]) -> Any:
        filled = re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", lambda found: written(values[found[1]]), document)
        return yaml.load(filled, yaml.CSafeLoader)

    expected = json.loads(json.dumps(pipeline(values | {name: "SENTINEL"})).replace("SENTINEL", json.dumps(text)[1:-1]))
    assert stripped(pipeline(values | {name: text})) == stripped(expected)


def written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def stripped(value: Any) -> Any:
    """The same without blanks around texts: a block's first line loses them."""
    if isinstance(value, dict):
        return [(key.strip(), stripped(one)) for key, one in value.items()]
    return [stripped(one) for one in value] if isinstance(value, list) else str(value).strip(" \t\n")


def test_the_component_is_the_template() -> None:
    """GitLab reads both; only what stands above them differs."""
    assert list(yaml.safe_load_all(COMPONENT.read_text())) == list(yaml.safe_load_all(TEMPLATE.read_text()))


def test_action_yml_is_valid() -> None:
    validate("vendor.github-actions", ROOT / "action.yml")


def test_the_setups_action_yml_is_valid() -> None:
    validate("vendor.github-actions", ROOT / "setup" / "action.yml")


def test_the_other_steps_action_yml_is_valid() -> None:
    validate("vendor.github-actions", *(ROOT / place / "action.yml" for place in bundle.ACTIONS[2:]))


def test_the_merges_template_is_valid(tmp_path: Path) -> None:
    for number, document in enumerate(MERGE_TEMPLATE.read_text().split("\n---\n")):
        part = tmp_path / f"part-{number}.yml"
        part.write_text(document)
        validate("vendor.gitlab-ci", part)


def test_each_input_of_the_merge_reaches_its_job_as_one_line() -> None:
    spec, jobs = yaml.safe_load_all(MERGE_TEMPLATE.read_text())
    offered, job = spec["spec"]["inputs"], jobs[".kube-builder-merge"]
    names = [option.name for option in inputs.list_merge_inputs(OptionSurface.GITLAB)]
    assert set(offered) - OF_THE_JOB == set(names)
    assert job["variables"] == {gitlab.name_variable(name): f"$[[ inputs.{name} ]]\n" for name in ("job-name", *names)}
    assert (job["script"], job["after_script"]) == (
        ["kube-builder gitlab --merge"],
        ["kube-builder gitlab --merge --post"],
    )
    assert job["artifacts"]["reports"] == {"dotenv": gitlab_job.DOTENV}
    texts = [one for one in offered.values() if one.get("type", "string") == "string" and "options" not in one]
    assert len(texts) == 6
    for one in texts:
        takes = re.compile(f"{one['regex'].removesuffix('$')}\\Z").search
        assert takes(one["default"] or "a.b")
        assert not any(takes(f"a{lines}script: [x]") for lines in LINE_BREAKS)


def test_the_merges_component_is_its_template() -> None:
    component = ROOT / "templates" / "merge.yml"
    assert list(yaml.safe_load_all(component.read_text())) == list(yaml.safe_load_all(MERGE_TEMPLATE.read_text()))


def test_the_merges_inputs_are_those_of_the_table() -> None:
    action = yaml.safe_load((ROOT / "merge" / "action.yml").read_text())
    assert list(action["inputs"]) == [option.name for option in inputs.list_merge_inputs(OptionSurface.GITHUB)]
    assert {"digest", "metadata", "tags", "json"} <= action["outputs"].keys()


@pytest.mark.parametrize(
    ("place", "known"),
    [
        ("bake", bake_inputs.list_bake_inputs(OptionSurface.GITHUB)),
        ("bake/subaction/matrix", bake_inputs.list_matrix_inputs()),
        ("bake/subaction/list-targets", bake_inputs.list_targets_inputs()),
    ],
)
def test_the_bakes_inputs_are_those_of_the_table(place: str, known: tuple[Option, ...]) -> None:
    action = yaml.safe_load((ROOT / place / "action.yml").read_text())
    assert list(action["inputs"]) == [option.name for option in known]
    script = (ROOT / place / action["runs"]["main"]).read_text()
    assert (ROOT / place / script.partition("require('")[2].partition("'")[0]).with_suffix(".js").resolve() == (
        ROOT / "action" / "run.js"
    )


def test_bake_has_all_inputs_of_dockers_action() -> None:
    """docker/bake-action 7.1, ``action.yml``, ``subaction/matrix/action.yml``; ``workdir`` is of version 6."""
    theirs = "builder allow call files no-cache pull load provenance push sbom set source targets vars github-token"
    ours = {option.name for option in bake_inputs.list_bake_inputs(OptionSurface.GITHUB)}
    assert {*theirs.split(), "workdir"} <= ours
    assert {"workdir", "files", "target", "fields"} <= {option.name for option in bake_inputs.list_matrix_inputs()}


def test_each_input_of_the_bake_reaches_its_job_as_one_line(tmp_path: Path) -> None:
    template = ROOT / "gitlab-template" / "bake.yml"
    spec, jobs = yaml.safe_load_all(template.read_text())
    offered, job = spec["spec"]["inputs"], jobs[".kube-builder-bake"]
    names = [option.name for option in bake_inputs.list_bake_inputs(OptionSurface.GITLAB)]
    assert set(offered) - OF_THE_JOB == set(names)
    assert job["variables"] == {gitlab.name_variable(name): f"$[[ inputs.{name} ]]\n" for name in ("job-name", *names)}
    assert (job["script"], job["after_script"]) == (
        ["kube-builder gitlab --bake"],
        ["kube-builder gitlab --bake --post"],
    )
    for one in offered.values():
        if one.get("type", "string") == "string" and "options" not in one:
            takes = re.compile(f"{one['regex'].removesuffix('$')}\\Z").search
            assert not any(takes(f"a{lines}script: [x]") for lines in LINE_BREAKS)
    component = ROOT / "templates" / "bake.yml"
    assert list(yaml.safe_load_all(component.read_text())) == list(yaml.safe_load_all(template.read_text()))
    for number, document in enumerate(template.read_text().split("\n---\n")):
        part = tmp_path / f"part-{number}.yml"
        part.write_text(document)
        validate("vendor.gitlab-ci", part)


def test_workflows_are_valid() -> None:
    validate("vendor.github-workflows", *WORKFLOWS, *EXAMPLES)


def test_zizmor_finds_nothing_in_what_runs_for_users() -> None:
    audit(*(ROOT / place / "action.yml" for place in bundle.ACTIONS), *WORKFLOWS)


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
