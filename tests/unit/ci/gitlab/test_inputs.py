"""Inputs of the template beside the ``KUBE_BUILDER_…`` variables of the pipeline, and reports of several jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.gitlab import inputs
from ci_buildx.ci.gitlab import job as gitlab_job
from ci_buildx.settings import assembly
from ci_buildx.settings.option import Option, OptionKind, OptionSurface
from tests.unit.ci.fake_job import RESULT

OFFERED = offered.list_inputs(OptionSurface.GITLAB)
INCLUDED = {"KUBE_BUILDER_INPUT_JOB_NAME": "kube-builder\n", "CI_JOB_NAME": "kube-builder"}
FIRST = {"CI_JOB_NAME": "Build image: [arm64]", "CI_JOB_NAME_SLUG": "build-image-arm64"}


def of_template(**inputs_given: str) -> dict[str, str]:
    """The template's own variables: what is not given is there, too."""
    empty = {option.name: "[]" if option.repeatable else "" for option in OFFERED}
    empty |= {option.name: "false" for option in OFFERED if option.kind is OptionKind.SWITCH} | inputs.DEFAULTS
    given = {name.replace("_", "-"): text for name, text in inputs_given.items()}
    return INCLUDED | {inputs.name_variable(name): f"{text}\n" for name, text in (empty | given).items()}


@pytest.mark.parametrize("option", OFFERED, ids=lambda option: str(option.name))
def test_a_variable_of_the_pipeline_counts_if_the_input_is_not_given(option: Option, cwd: Path) -> None:
    given = inputs.read_inputs(of_template() | {option.variable: "from-pipeline"}, cwd)
    assert given.values == {option.name: "from-pipeline"}
    assert given.find_source(option.name) == option.variable


@pytest.mark.parametrize("option", OFFERED, ids=lambda option: str(option.name))
def test_an_input_overrides_the_variable_of_the_pipeline(option: Option, cwd: Path) -> None:
    said = "true" if option.kind is OptionKind.SWITCH else '["said"]' if option.repeatable else "said"
    given = inputs.read_inputs(of_template(**{option.name: said}) | {option.variable: "from-pipeline"}, cwd)
    assert given.find_source(option.name) == f"input {option.name}"
    assert given.read_texts(option.name) == ["said"] if option.repeatable else given.read_text(option.name) == said


def test_a_job_that_extends_the_template_has_its_own_variables_before_the_includes_inputs(cwd: Path) -> None:
    env = of_template(tags='["r.example/a:1"]', target="app") | {"KUBE_BUILDER_TAGS": "r.example/b:1"}
    given = inputs.read_inputs(env | {"CI_JOB_NAME": "worker"}, cwd)
    assert (given.read_texts("tags"), given.read_text("target")) == (["r.example/b:1"], "app")


def test_other_commands_of_the_job_pass_over_the_templates_variables() -> None:
    assert assembly.read_variables(of_template(build_contexts="a=b")) == ({}, {})


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("build-args", ['"VERSION=22.04"', 'A="x"', "B=1,2\n3"], ["VERSION=22.04", 'A="x"', "B=1,2\n3"]),
        ("outputs", ['"type=local,dest=out"'], ['"type=local,dest=out"']),
        ("platforms", ['"linux/amd64"'], ["linux/amd64"]),
    ],
)
def test_quotes_around_the_whole_of_an_element(name: str, array: list[str], expected: list[str], cwd: Path) -> None:
    assert inputs.read_inputs(of_template(**{name: json.dumps(array)}), cwd).read_texts(name) == expected


def dotenv(path: Path) -> dict[str, str]:
    lines = (path / gitlab_job.DOTENV).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_reports_are_also_there_by_the_jobs_name(tmp_path: Path) -> None:
    gitlab_job.write_result(tmp_path, RESULT, FIRST)
    told = dotenv(tmp_path)
    assert told.keys() == {
        *(f"KUBE_BUILDER_{name}" for name in ("DIGEST", "IMAGEID", "IMAGE", "METADATA")),
        *(f"BUILD_IMAGE_ARM64_KUBE_BUILDER_{name}" for name in ("DIGEST", "IMAGEID", "IMAGE", "METADATA")),
    }
    assert told["BUILD_IMAGE_ARM64_KUBE_BUILDER_IMAGE"] == told["KUBE_BUILDER_IMAGE"]
    assert told["BUILD_IMAGE_ARM64_KUBE_BUILDER_METADATA"] == "kube-builder.build-image-arm64.json"
    for name in ("KUBE_BUILDER_METADATA", "BUILD_IMAGE_ARM64_KUBE_BUILDER_METADATA"):
        assert json.loads((tmp_path / told[name]).read_text()) == RESULT.metadata


def test_a_job_that_needs_two_builds_gets_both(tmp_path: Path) -> None:
    """GitLab merges the variables and unpacks the files of both: what has one name is the last one's."""
    together: dict[str, str] = {}
    for job in ("first", "2nd"):
        gitlab_job.write_result(tmp_path, RESULT, {"CI_JOB_NAME": job})
        together |= dotenv(tmp_path)
    assert together["FIRST_KUBE_BUILDER_METADATA"] == "kube-builder.first.json"
    assert together["_2ND_KUBE_BUILDER_METADATA"] == "kube-builder.2nd.json"
    assert {path.name for path in tmp_path.glob("*.json")} >= {"kube-builder.first.json", "kube-builder.2nd.json"}


def test_the_timeline_is_also_there_by_the_jobs_name(tmp_path: Path) -> None:
    (tmp_path / "kube-builder-timeline.html").write_text("<html>")
    gitlab_job.copy_timeline(tmp_path, FIRST)
    assert (tmp_path / "kube-builder-timeline.build-image-arm64.html").read_text() == "<html>"


def test_reports_take_the_place_of_links(tmp_path: Path) -> None:
    """The author of the checkout knows their names."""
    checkout, runners = tmp_path / "checkout", tmp_path / "profile"
    checkout.mkdir()
    runners.write_text("runner's")
    names = (gitlab_job.DOTENV, gitlab_job.METADATA, gitlab_job.CODE_QUALITY, "kube-builder.build-image-arm64.json")
    for name in names:
        (checkout / name).symlink_to(runners)
    gitlab_job.write_result(checkout, RESULT, FIRST)
    gitlab_job.write_findings(checkout, (), dockerfile="Dockerfile")
    assert runners.read_text() == "runner's"
    assert [name for name in names if (checkout / name).is_symlink()] == []
    assert json.loads((checkout / "kube-builder.json").read_text()) == RESULT.metadata


def test_a_link_is_no_timeline_to_copy(tmp_path: Path) -> None:
    """Artifacts can be read by everybody who sees the merge request."""
    (tmp_path / "kube-builder-timeline.html").symlink_to("/proc/self/environ")
    gitlab_job.copy_timeline(tmp_path, FIRST)
    assert [path.name for path in tmp_path.iterdir()] == ["kube-builder-timeline.html"]


def test_reports_of_any_job_are_no_inputs_of_the_next(tmp_path: Path, cwd: Path) -> None:
    for job in ("kube-builder", "kube-builder-build-args", "tags", "input"):
        gitlab_job.write_result(tmp_path, RESULT, {"CI_JOB_NAME": job})
        assert inputs.read_inputs(dotenv(tmp_path), cwd).values == {}
