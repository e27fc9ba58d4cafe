"""The GitLab job's entry point: variables in, sections and reports out."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from base64 import b64encode
from pathlib import Path

import pytest

from ci_buildx.builder import labels
from ci_buildx.ci.gitlab import inputs
from ci_buildx.ci.gitlab import job as gitlab
from ci_buildx.cli.main import main as command
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError, KubeBuilderError, SolveError
from ci_buildx.model.debug import get_log
from ci_buildx.model.record import replace
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.summary import BuildReport, summarize_graph
from ci_buildx.progress.timeline.timeline import read_timeline
from ci_buildx.registry import credentials
from ci_buildx.settings import options
from ci_buildx.settings.option import OptionSurface
from tests.unit.ci.fake_job import RESULT, FakeJob

RUNNER = {
    "CI_JOB_ID": "4711",
    "CI_JOB_TOKEN": "glcbt-64_secret",
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


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the job's credentials are while it runs."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


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


def test_provenance_and_sbom_override_attests(cwd: Path, job: FakeJob) -> None:
    attests = '["type=provenance,mode=max", "type=sbom,generator=x"]'
    run(RUNNER | {"KUBE_BUILDER_ATTESTS": attests, "KUBE_BUILDER_PROVENANCE": "false"}, cwd)
    assert job.settings is not None
    assert (job.settings.build.provenance, job.settings.build.sbom) == ("", "type=sbom,generator=x")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_dotenv_report_of_the_checkout_is_removed(kind: str, cwd: Path, tmp_path: Path) -> None:
    """Before anything can fail: its lines would become variables of later jobs."""
    report, other = cwd / "kube-builder.env", tmp_path / "other"
    other.write_text("KUBE_BUILDER_IMAGE=evil\n")
    report.symlink_to(other) if kind == "link" else report.write_bytes(other.read_bytes())
    with pytest.raises(InputError):
        run(RUNNER | {"KUBE_BUILDER_PLATFORMS": "[]]"}, cwd)
    assert not report.is_symlink()
    assert not report.exists()
    assert other.exists()


def test_lists_written_by_hand_are_one_a_line(cwd: Path, job: FakeJob) -> None:
    run(RUNNER | {"KUBE_BUILDER_TAGS": "r.example/a:1\nr.example/a:2"}, cwd)
    assert job.settings is not None
    assert job.settings.build.tags == ("r.example/a:1", "r.example/a:2")


def test_a_line_break_from_a_variable_may_be_in_an_array() -> None:
    assert inputs.read_array('["MESSAGE=first\nsecond"]', source="x") == ["MESSAGE=first\nsecond"]


def test_a_broken_array_names_its_variable(cwd: Path) -> None:
    with pytest.raises(InputError, match="KUBE_BUILDER_LABELS: is not a JSON array"):
        inputs.read_inputs({"KUBE_BUILDER_LABELS": '["a="b""]'}, cwd)


@pytest.mark.parametrize(("text", "expected"), [("[]", []), ("[1, true]", ["1", "true"]), (' ["a"] ', ["a"])])
def test_arrays(text: str, expected: list[str]) -> None:
    assert inputs.read_array(text, source="x") == expected


def test_the_builder_is_the_same_in_script_and_after_script(cwd: Path, job: FakeJob) -> None:
    run(RUNNER, cwd)
    assert job.identity is not None
    code, log = run(RUNNER | {"CI_JOB_STATUS": "failed"}, cwd, post=True)
    assert job.removed["name"] == job.identity.name
    assert (code, log) == (0, f"{job.identity.name}: removed\n")


def test_after_script_removes_the_credentials_that_a_killed_script_left(
    cwd: Path, tmp_path: Path, temporary: Path, job: FakeJob
) -> None:
    login = {"KUBE_BUILDER_USERNAME": "ann", "KUBE_BUILDER_PASSWORD": "hunter2"}
    env = RUNNER | login | {"KUBE_BUILDER_KUBECONFIG": "kind: Config\nclusters: []\n", "HOME": str(tmp_path)}

    def keep_a_copy() -> None:
        shutil.copytree(temporary, tmp_path / "copy")

    job.on_create = keep_a_copy
    assert run(env, cwd)[0] == 0
    assert list(temporary.iterdir()) == []
    shutil.copytree(tmp_path / "copy", temporary, dirs_exist_ok=True)
    assert len([path for path in temporary.rglob("*") if path.is_file()]) == 2
    run(env, cwd, post=True)
    assert list(temporary.iterdir()) == []


def test_a_folder_of_somebody_elses_is_not_used(temporary: Path, tmp_path: Path, cwd: Path, job: FakeJob) -> None:
    (temporary / f"kube-builder-job-{gitlab.make_suffix(RUNNER)}").symlink_to(tmp_path)
    with pytest.raises(InputError, match="belongs to another user; set TMPDIR"):
        run(RUNNER, cwd)


@pytest.mark.parametrize("name", ["CI_JOB_ID", "CI_JOB_TOKEN", "CI_PROJECT_ID", "CI_SERVER_HOST"])
def test_every_job_has_a_builder_of_its_own(name: str, cwd: Path) -> None:
    assert gitlab.read_identity(RUNNER | {name: "other"}, cwd).name != gitlab.read_identity(RUNNER, cwd).name


def test_the_token_is_in_nothing_that_others_see(cwd: Path, job: FakeJob) -> None:
    _, log = run(RUNNER, cwd)
    assert job.identity is not None
    shown = f"{log} {job.identity} {gitlab.make_suffix(RUNNER)}"
    assert "glcbt" not in shown
    assert "secret" not in shown


def test_the_builder_is_marked_with_its_job(cwd: Path) -> None:
    identity = gitlab.read_identity(RUNNER, cwd)
    assert identity.name.startswith("kube-builder-app-")
    assert identity.labels["kube-builder.dev/ci"] == "gitlab"
    assert identity.labels["kube-builder.dev/job"] == "4711"
    assert identity.annotations["kube-builder.dev/run-url"] == RUNNER["CI_JOB_URL"]


@pytest.mark.parametrize("post", [False, True])
def test_outside_of_a_job(post: bool, cwd: Path, job: FakeJob) -> None:
    (cwd / gitlab.DOTENV).write_text("KEPT=yes\n")
    with pytest.raises(InputError, match="CI_JOB_ID is not set"):
        run({}, cwd, post=post)
    assert (cwd / gitlab.DOTENV).exists()


@pytest.mark.parametrize(
    "variables",
    [{"KUBE_BUILDER_NAMESPACE": "ci\n"}, {"KUBE_BUILDER_DRIVER_OPTS": '["namespace=ci", "replicas=2"]'}],
)
def test_clean_up_looks_in_the_shared_namespace(variables: dict[str, str], cwd: Path, job: FakeJob) -> None:
    run(RUNNER | variables, cwd, post=True)
    assert job.removed["namespace"] == "ci"


def test_clean_up_without_a_kubeconfig_has_the_words_of_the_build(cwd: Path, job: FakeJob) -> None:
    run(RUNNER, cwd, post=True)
    assert job.removed["cluster"].empty_input == "variable KUBECONFIG"
    assert "of type File" in job.removed["cluster"].empty_fix


def test_clean_up_reads_nothing_but_the_cluster(tmp_path: Path, job: FakeJob) -> None:
    job.found = False
    env = RUNNER | {"KUBE_BUILDER_BUILDKITD_CONFIG": "gone.toml", "KUBE_BUILDER_CONTEXT": "gone"}
    code, log = run(env, tmp_path, post=True)
    assert code == 0
    assert log.endswith(": nothing is left\n")


def test_kubeconfig_content_is_a_file_for_as_long_as_the_job_runs(cwd: Path) -> None:
    read = inputs.read_inputs({"KUBE_BUILDER_KUBECONFIG": "kind: Config\nclusters: []\n"}, cwd)
    with inputs.write_kubeconfig(read) as given:
        path = Path(given.read_text("kubeconfig"))
        assert path.read_text().startswith("kind: Config")
    assert not path.exists()


def test_reports(cwd: Path, tmp_path: Path, job: FakeJob) -> None:
    project = tmp_path / "project"
    project.mkdir()
    run(RUNNER | {"CI_PROJECT_DIR": str(project)}, cwd)
    lines = (project / gitlab.DOTENV).read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["KUBE_BUILDER_DIGEST"] == RESULT.digest
    assert variables["KUBE_BUILDER_IMAGEID"] == RESULT.image_id
    assert json.loads((project / variables["KUBE_BUILDER_METADATA"]).read_text()) == RESULT.metadata


def test_reports_are_there_before_the_builder_is_removed(cwd: Path, job: FakeJob) -> None:
    def killed() -> None:
        assert (cwd / gitlab.DOTENV).read_text().startswith(f"KUBE_BUILDER_DIGEST={RESULT.digest}\n")
        assert json.loads((cwd / gitlab.CODE_QUALITY).read_text()) == []
        raise KeyboardInterrupt

    job.on_remove = killed
    with pytest.raises(KeyboardInterrupt):
        run(RUNNER, cwd)


def test_a_report_that_cannot_be_written_is_said(cwd: Path, job: FakeJob) -> None:
    (cwd / gitlab.METADATA).mkdir()
    with pytest.raises(
        KubeBuilderError, match=r"cannot write the report .*kube-builder\.json: Is a directory; the image"
    ):
        run(RUNNER, cwd)


def test_reports_go_to_the_working_directory_where_the_checkout_is_elsewhere(cwd: Path, job: FakeJob) -> None:
    run(RUNNER | {"CI_PROJECT_DIR": "/builds/of/another/executor"}, cwd)
    assert (cwd / gitlab.DOTENV).is_file()


def test_a_variable_that_is_nearly_an_input(cwd: Path, job: FakeJob) -> None:
    with pytest.raises(InputError, match=r"KUBE_BUILDER_TAG: unknown variable; did you mean KUBE_BUILDER_TAGS\?"):
        run(RUNNER | {"KUBE_BUILDER_TAG": "r.example/a:1"}, cwd)


def test_what_an_earlier_job_told_is_no_input(cwd: Path, job: FakeJob) -> None:
    told = gitlab.make_variables(RESULT) | {"KUBE_BUILDER_ID_TOKEN": "t", "KUBE_BUILDER_OUR_OWN_THING": "x"}
    assert run(RUNNER | told, cwd)[0] == 0


@pytest.mark.parametrize(
    ("variables", "scope"),
    [
        ({}, "unprotected"),
        ({"CI_COMMIT_REF_PROTECTED": "true"}, ""),
        ({"CI_COMMIT_REF_PROTECTED": "true", "CI_MERGE_REQUEST_IID": "7"}, "unprotected"),
        ({"KUBE_BUILDER_TRUST_SCOPE": "nightly"}, "nightly"),
        ({"KUBE_BUILDER_TRUST_SCOPE": "protected"}, ""),
        (
            {
                "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "Mallory/app",
                "CI_COMMIT_REF_PROTECTED": "true",
                "KUBE_BUILDER_TRUST_SCOPE": "protected",
            },
            "fork:mallory/app",
        ),
    ],
)
def test_trust_scopes(variables: dict[str, str], scope: str, cwd: Path, job: FakeJob) -> None:
    run(RUNNER | variables, cwd)
    assert job.env["KUBE_BUILDER_TRUST_SCOPE"] == scope
    assert job.identity is not None
    assert job.identity.annotations.get(labels.TRUST, "") == scope


LOGINS = {
    "CI_REGISTRY": "registry.git.example:5050",
    "CI_REGISTRY_USER": "gitlab-ci-token",
    "CI_REGISTRY_PASSWORD": "glcbt-1",
    "CI_DEPENDENCY_PROXY_SERVER": "git.example:443",
    "CI_DEPENDENCY_PROXY_USER": "gitlab-ci-token",
    "CI_DEPENDENCY_PROXY_PASSWORD": "glcbt-2",
}


def test_the_job_is_logged_in_to_its_registries(cwd: Path, tmp_path: Path, job: FakeJob) -> None:
    seen: dict[str, str] = {}

    def look() -> None:
        store = credentials.load_credentials(job.env)
        for host in ("registry.git.example:5050", "git.example:443", "other.example"):
            login = store.lookup(host)
            seen[host] = login.secret.reveal_text() if login else ""
        seen["mode"] = oct(Path(job.env["DOCKER_CONFIG"]).stat().st_mode)

    job.on_create = look
    run(RUNNER | LOGINS | {"HOME": str(tmp_path)}, cwd)
    assert seen == {
        "registry.git.example:5050": "glcbt-1",
        "git.example:443": "glcbt-2",
        "other.example": "",
        "mode": "0o40700",
    }
    assert not Path(job.env["DOCKER_CONFIG"]).exists()


def test_a_login_of_the_users_own_counts_more(cwd: Path, tmp_path: Path, job: FakeJob) -> None:
    own = {"registry.git.example:5050": {"auth": b64encode(b"deploy:token").decode()}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": own}))
    env = RUNNER | LOGINS | {"DOCKER_CONFIG": str(tmp_path)}
    with inputs.log_in(inputs.read_inputs(env, cwd), inside=tmp_path) as changed:
        login = credentials.load_credentials(changed).lookup("registry.git.example:5050")
        assert login is not None
        assert login.username == "deploy"


def test_an_id_token_is_the_password_at_a_registry(cwd: Path, tmp_path: Path) -> None:
    env = {
        "HOME": str(tmp_path),
        "KUBE_BUILDER_REGISTRY": "cloud.example",
        "KUBE_BUILDER_USERNAME": "oidc",
        "KUBE_BUILDER_REGISTRY_ID_TOKEN": "eyJ",
    }
    with inputs.log_in(inputs.read_inputs(env, cwd), inside=tmp_path) as changed:
        login = credentials.load_credentials(changed).lookup("cloud.example")
        assert login is not None
        assert (login.username, login.secret.reveal_text()) == ("oidc", "eyJ")


FINDING = CheckFinding(rule="StageNameCasing", message="Stage name 'A' should be lowercase", url="https://rule", line=3)


def test_findings_are_a_code_quality_report(cwd: Path, job: FakeJob) -> None:
    twice = replace(FINDING, line=9)
    found = gitlab.make_code_quality(
        [replace(FINDING, path=cwd / "app" / "Dockerfile"), twice, twice], cwd, dockerfile="D"
    )
    assert [issue["location"] for issue in found] == [
        {"path": "app/Dockerfile", "lines": {"begin": 3}},
        {"path": "D", "lines": {"begin": 9}},
    ]
    assert len({issue["fingerprint"] for issue in found}) == 2
    assert found[0]["check_name"] == "StageNameCasing"
    assert found[0]["severity"] == "minor"


def test_a_finding_that_moved_is_the_same(cwd: Path) -> None:
    before, after = (gitlab.make_code_quality([replace(FINDING, line=line)], cwd, dockerfile="D") for line in (3, 30))
    assert before[0]["fingerprint"] == after[0]["fingerprint"]


def test_findings_of_a_build_that_fails_are_reported(cwd: Path, job: FakeJob) -> None:
    empty = StepGraph()
    summary, timeline = summarize_graph(empty, now=0), read_timeline(empty, now=0)
    job.report = BuildReport(title="app", timeline=timeline, summary=summary, findings=(FINDING,))
    job.failure = SolveError("no")
    with pytest.raises(SolveError):
        run(RUNNER, cwd)
    (issue,) = json.loads((cwd / gitlab.CODE_QUALITY).read_text())
    assert issue["location"] == {"path": "Dockerfile", "lines": {"begin": 3}}


def test_no_findings_are_an_empty_report(cwd: Path, job: FakeJob) -> None:
    run(RUNNER, cwd)
    assert json.loads((cwd / gitlab.CODE_QUALITY).read_text()) == []


def test_what_later_jobs_see_is_no_input_of_theirs() -> None:
    assert not gitlab.make_variables(RESULT).keys() & {option.variable for option in options.OPTIONS}
    assert gitlab.make_variables(RESULT)["KUBE_BUILDER_IMAGE"] == f"registry.example/team/app:1@{RESULT.digest}"


def test_the_debug_log_is_beside_the_log_of_the_job(cwd: Path, job: FakeJob) -> None:
    password = "hush-of-the-registry"
    env = RUNNER | {"GITLAB_CI": "true", "CI_DEBUG_TRACE": "true", "CI_REGISTRY_PASSWORD": password, "HOME": str(cwd)}
    env |= {"CI_REGISTRY": "registry.example", "CI_REGISTRY_USER": "me"}
    job.on_create = lambda: get_log("build").debug("%s", password)
    around = ProcessContext(env=env, cwd=cwd, stdout=io.StringIO(), stderr=io.StringIO())
    assert command(["gitlab"], around) == 0
    assert isinstance(around.stdout, io.StringIO)
    assert isinstance(around.stderr, io.StringIO)
    logged = around.stderr.getvalue()
    assert " DEBUG ci_buildx.ci: GitLab: job 4711, trust scope " in logged
    assert " DEBUG ci_buildx.settings: given: " in logged
    assert "tags (KUBE_BUILDER_TAGS)" in logged
    assert " DEBUG ci_buildx.build: ***\n" in logged
    assert password not in logged
    assert "DEBUG" not in around.stdout.getvalue()


def test_errors_speak_of_the_templates_inputs(cwd: Path, job: FakeJob) -> None:
    job.failure = SolveError("no", fix="build other platforms with --platform, or omit --keep")
    with pytest.raises(SolveError) as caught:
        run(RUNNER, cwd)
    assert caught.value.fix == "build other platforms with input platforms, or omit KUBE_BUILDER_KEEP"
    assert job.settings is not None
    assert job.settings.surface is OptionSurface.GITLAB
    assert job.settings.cluster.empty_input == "variable KUBECONFIG"
