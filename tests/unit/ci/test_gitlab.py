"""The GitLab job's entry point: variables in, sections and reports out."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from ci_buildx.ci import gitlab
from ci_buildx.errors import InputError, KubeBuilderError, SolveError
from tests.unit.ci.fake_job import RESULT, FakeJob

RUNNER = {
    "CI_JOB_ID": "4711",
    "CI_PROJECT_ID": "12",
    "CI_PROJECT_PATH": "group/app",
    "CI_PIPELINE_ID": "99",
    "CI_SERVER_HOST": "git.example",
    "CI_JOB_URL": "https://git.example/group/app/-/jobs/4711",
    "KUBE_BUILDER_TAGS": '["registry.example/group/app:1", "registry.example/group/app:2"]\n',
    "KUBE_BUILDER_PUSH": "true\n",
    "KUBE_BUILDER_PLATFORMS": "[]\n",
    "KUBE_BUILDER_FILE": "\n",
}


def run(env: dict[str, str], cwd: Path, *, post: bool = False) -> tuple[int, str]:
    stdout = io.StringIO()
    return gitlab.main(post=post, env=env, cwd=cwd, stdout=stdout), stdout.getvalue()


def test_arrays_and_blocks_of_the_template(cwd: Path, job: FakeJob) -> None:
    env = RUNNER | {"KUBE_BUILDER_BUILD_ARGS": '["A=it\'s \\"quoted\\", really", "B=1"]\n'}
    assert run(env, cwd)[0] == 0
    assert job.settings is not None
    build = job.settings.build
    assert build.tags == ("registry.example/group/app:1", "registry.example/group/app:2")
    assert build.push
    assert build.platforms == ()
    assert build.build_args == (("A", 'it\'s "quoted", really'), ("B", "1"))


def test_lists_written_by_hand_are_one_a_line(cwd: Path, job: FakeJob) -> None:
    run(RUNNER | {"KUBE_BUILDER_TAGS": "r.example/a:1\nr.example/a:2"}, cwd)
    assert job.settings is not None
    assert job.settings.build.tags == ("r.example/a:1", "r.example/a:2")


def test_a_line_break_from_a_variable_may_be_in_an_array() -> None:
    assert gitlab.read_array('["MESSAGE=first\nsecond"]', source="x") == ["MESSAGE=first\nsecond"]


def test_a_broken_array_names_its_variable(cwd: Path) -> None:
    with (
        pytest.raises(InputError, match="KUBE_BUILDER_LABELS: is not a JSON array"),
        gitlab.inputs({"KUBE_BUILDER_LABELS": '["a="b""]'}),
    ):
        pass


@pytest.mark.parametrize(("text", "expected"), [("[]", []), ("[1, true]", ["1", "true"]), (' ["a"] ', ["a"])])
def test_arrays(text: str, expected: list[str]) -> None:
    assert gitlab.read_array(text, source="x") == expected


def test_the_builder_is_the_same_in_script_and_after_script(cwd: Path, job: FakeJob) -> None:
    run(RUNNER, cwd)
    assert job.identity is not None
    code, log = run(RUNNER | {"CI_JOB_STATUS": "failed"}, cwd, post=True)
    assert job.removed["name"] == job.identity.name
    assert (code, log) == (0, f"{job.identity.name}: removed\n")


@pytest.mark.parametrize("name", ["CI_JOB_ID", "CI_PROJECT_ID", "CI_SERVER_HOST"])
def test_every_job_has_a_builder_of_its_own(name: str, cwd: Path) -> None:
    assert gitlab.who(RUNNER | {name: "other"}, cwd).name != gitlab.who(RUNNER, cwd).name


def test_the_builder_is_marked_with_its_job(cwd: Path) -> None:
    identity = gitlab.who(RUNNER, cwd)
    assert identity.name.startswith("kube-builder-app-")
    assert identity.labels["kube-builder.dev/ci"] == "gitlab"
    assert identity.labels["kube-builder.dev/job"] == "4711"
    assert identity.annotations["kube-builder.dev/run-url"] == RUNNER["CI_JOB_URL"]


@pytest.mark.parametrize("post", [False, True])
def test_outside_of_a_job(post: bool, cwd: Path, job: FakeJob) -> None:
    with pytest.raises(InputError, match="CI_JOB_ID is not set"):
        run({}, cwd, post=post)


@pytest.mark.parametrize(
    "variables",
    [{"KUBE_BUILDER_NAMESPACE": "ci\n"}, {"KUBE_BUILDER_DRIVER_OPTS": '["namespace=ci", "replicas=2"]'}],
)
def test_clean_up_looks_in_the_shared_namespace(variables: dict[str, str], cwd: Path, job: FakeJob) -> None:
    run(RUNNER | variables, cwd, post=True)
    assert job.removed["namespace"] == "ci"


def test_clean_up_reads_nothing_but_the_cluster(tmp_path: Path, job: FakeJob) -> None:
    job.found = False
    env = RUNNER | {"KUBE_BUILDER_BUILDKITD_CONFIG": "gone.toml", "KUBE_BUILDER_CONTEXT": "gone"}
    code, log = run(env, tmp_path, post=True)
    assert code == 0
    assert log.endswith(": nothing is left\n")


def test_kubeconfig_content_is_a_file_for_as_long_as_the_job_runs() -> None:
    with gitlab.inputs({"KUBE_BUILDER_KUBECONFIG": "kind: Config\nclusters: []\n"}) as (given, _):
        path = Path(str(given["kubeconfig"]))
        assert path.read_text().startswith("kind: Config")
    assert not path.exists()


def test_reports(cwd: Path, tmp_path: Path, job: FakeJob) -> None:
    project = tmp_path / "project"
    project.mkdir()
    run(RUNNER | {"CI_PROJECT_DIR": str(project)}, cwd)
    lines = (project / gitlab.REPORT).read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["KUBE_BUILDER_DIGEST"] == RESULT.digest
    assert variables["KUBE_BUILDER_IMAGEID"] == RESULT.image_id
    assert json.loads((project / variables["KUBE_BUILDER_METADATA"]).read_text()) == RESULT.metadata


def test_a_report_that_cannot_be_written_is_said(cwd: Path, job: FakeJob) -> None:
    (cwd / gitlab.METADATA).mkdir()
    with pytest.raises(
        KubeBuilderError, match=r"cannot write the report .*kube-builder\.json: Is a directory; the image"
    ):
        run(RUNNER, cwd)


def test_the_log_is_a_section_that_ends(cwd: Path, job: FakeJob) -> None:
    log = run(RUNNER, cwd)[1]
    assert re.match(r"\x1b\[0Ksection_start:\d+:kube_builder\r\x1b\[0Kkube-builder: build\n#1 the build's log\n", log)
    assert re.search(r"\x1b\[0Ksection_end:\d+:kube_builder\r\x1b\[0K\nimage ", log)


def test_a_section_ends_with_a_failed_build(cwd: Path, job: FakeJob) -> None:
    job.failure = SolveError("no")
    stdout = io.StringIO()
    with pytest.raises(SolveError):
        gitlab.main(post=False, env=RUNNER, cwd=cwd, stdout=stdout)
    assert "section_end:" in stdout.getvalue()


def test_reports_go_to_the_working_directory_where_the_checkout_is_elsewhere(cwd: Path, job: FakeJob) -> None:
    run(RUNNER | {"CI_PROJECT_DIR": "/builds/of/another/executor"}, cwd)
    assert (cwd / gitlab.REPORT).is_file()
