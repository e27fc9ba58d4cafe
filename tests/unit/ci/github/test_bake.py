"""The steps for bake, as the runner sees them: inputs in, outputs, masks, annotations and the summary out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_buildx.bake import limits, remote
from ci_buildx.bake.definitions import DefinitionFile
from ci_buildx.ci.github import action
from ci_buildx.ci.github.action import ActionKind
from ci_buildx.ci.github.bake import make_matrix
from ci_buildx.errors import SolveError
from ci_buildx.model.secret import Secret
from tests.unit.ci.fake_bake import FakeBake
from tests.unit.ci.fake_job import FakeJob
from tests.unit.ci.github.runner import RUNNER, read

TWO = """
variable "VERSION" { default = "0" }
group "default" { targets = ["app", "worker"] }
target "app" {
  tags = ["registry.example/app:${VERSION}"]
  args = { NPM_TOKEN = "npm-token-of-the-definition", KIND = "app" }
}
target "worker" {
  dockerfile = "worker.Dockerfile"
  tags = ["registry.example/worker:${VERSION}"]
  attest = ["type=provenance,mode=min"]
}
"""
PRIVATE = {
    "INPUT_USERNAME": "ann",
    "INPUT_PASSWORD": "hush-hush-hush",
    "ACTIONS_RUNTIME_TOKEN": "token-of-the-run",
}
NAMES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")


@pytest.fixture
def env(tmp_path: Path, cwd: Path) -> dict[str, str]:
    """The variables of a job whose checkout has a definition of two targets."""
    (cwd / "docker-bake.hcl").write_text(TWO)
    (cwd / "worker.Dockerfile").write_text("FROM scratch\n")
    kept = {name: value for name, value in RUNNER.items() if not name.startswith("INPUT_")}
    folder = tmp_path / "temp"
    folder.mkdir()
    return {
        **kept,
        **{name: str(tmp_path / name) for name in NAMES},
        "INPUT_SOURCE": ".",
        "GITHUB_WORKSPACE": str(cwd),
        "RUNNER_TEMP": str(folder),
    }


def start(env: dict[str, str], cwd: Path, kind: ActionKind = ActionKind.BAKE, *, post: bool = False) -> tuple[int, str]:
    stdout = io.StringIO()
    return action.main(post=post, kind=kind, env=env, cwd=cwd, stdout=stdout), stdout.getvalue()


def test_targets_get_the_inputs_and_the_defaults_of_dockers_action(
    env: dict[str, str], cwd: Path, bake: FakeBake
) -> None:
    given = {"INPUT_VARS": "VERSION=2\n", "INPUT_SET": "*.platform=linux/arm64\n", "INPUT_PUSH": "true"}
    code, log = start(env | given, cwd)
    assert code == 0, log
    app, worker = (job.settings.build for job in bake.jobs)
    assert app.tags == ("registry.example/app:2",)
    assert [(one.type, one.get("push")) for one in app.outputs] == [("image", "true")]
    assert [str(one) for one in worker.platforms] == ["linux/arm64"]
    run_of = "https://git.example/team/app/actions/runs/77/attempts/2"
    assert app.provenance == f"type=provenance,builder-id={run_of},mode=max"
    assert worker.provenance == "type=provenance,mode=min"
    assert json.loads(read(env["GITHUB_OUTPUT"])["metadata"]).keys() == {"app", "worker"}


def test_the_call_of_the_input_is_that_of_all_targets(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    start(env | {"INPUT_CALL": "check", "INPUT_TARGETS": "app,worker", "INPUT_JOBS": "1"}, cwd)
    assert bake.session is not None
    assert bake.session.execution.parallel == 1
    assert all(job.settings.build.call is not None for job in bake.jobs)


def test_the_summary_has_the_targets_and_no_secret(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    cache = "*.cache-to=type=s3,region=r,bucket=b,secret_access_key=hush-hush"
    given = {"INPUT_SET": f"{cache}\nworker.args.API_TOKEN=very-secret-value"}
    code, log = start(env | given, cwd)
    assert code == 0, log
    summary = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert "| <code>app</code> | <code>registry.example/app&#58;0</code>" in summary
    assert '"KIND": "app"' in summary
    for secret in ("npm-token-of-the-definition", "very-secret-value", "hush-hush"):
        assert secret not in summary
        assert f"::add-mask::{secret}" in log
    assert "#1 the log ::error::" in log, "the mode for GitHub's log defuses commands itself"


def test_a_failure_is_annotated_in_the_targets_dockerfile(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    bake.failure = SolveError("target worker: exit code: 7", line=3)
    bake.failure.target = "worker"
    code, log = start(env, cwd)
    assert code == bake.failure.exit_code
    assert "::error file=worker.Dockerfile,line=3,title=kube-builder::target worker: exit code: 7" in log
    assert "exit code: 7" in Path(env["GITHUB_STEP_SUMMARY"]).read_text()


def test_the_clean_up_knows_the_inputs(env: dict[str, str], cwd: Path, bake: FakeBake, job: FakeJob) -> None:
    start(env | {"INPUT_TARGETS": "app"}, cwd)
    state = {f"STATE_{name}": value for name, value in read(env["GITHUB_STATE"]).items()}
    code, log = start(env | {"INPUT_TARGETS": "app"} | state, cwd, post=True)
    assert code == 0, log
    assert job.removed["name"] == state["STATE_builder"]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ('target "default" { args = { X = INPUT_PASSWORD } }\n', "INPUT_PASSWORD"),
        (
            'variable "INPUT_PASSWORD" {}\ntarget "default" { args = { X = "<${INPUT_PASSWORD}>" } }\n',
            "",
        ),
        ('target "default" { secret = ["id=x,env=ACTIONS_RUNTIME_TOKEN"] }\n', "variable ACTIONS_RUNTIME_TOKEN"),
        ('target "default" { secret = ["id=INPUT_PASSWORD"] }\n', "variable INPUT_PASSWORD"),
        ('target "default" { secret = ["id=x,src=../outside"] }\n', "Read access to path"),
        ('target "default" { context = "link" }\n', "Read access to path"),
        ('target "default" { output = ["../written"] }\n', "Write access to path"),
        ('target "default" { entitlements = ["security.insecure"] }\n', "privileged containers"),
    ],
)
def test_a_definition_reaches_nothing_of_the_runner(
    definition: str, said: str, env: dict[str, str], cwd: Path, bake: FakeBake
) -> None:
    (cwd.parent / "outside").write_text("private")
    (cwd / "link").symlink_to(cwd.parent)
    (cwd / "docker-bake.hcl").write_text(definition)
    code, log = start(env | PRIVATE, cwd)
    if said:
        assert (code, bake.jobs) == (2, ())
        assert said in log
        assert "hush-hush" not in log.replace("::add-mask::hush-hush-hush", "")
    else:
        assert code == 0, log
        assert bake.jobs[0].settings.build.build_args == (("X", "<>"),)


def test_more_is_permitted_by_an_input(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    (cwd.parent / "outside").write_text("shared")
    (cwd / "docker-bake.hcl").write_text('target "default" { secret = ["id=x,src=../outside"] }\n')
    assert start(env | {"INPUT_ALLOW": f"fs.read={cwd.parent}"}, cwd)[0] == 0
    assert bake.jobs[0].settings.build.secrets[0].value == Secret("shared")


def test_a_definition_that_a_link_leads_out_to_is_not_read(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    (cwd.parent / "other.hcl").write_text("secret of the runner")
    (cwd / "docker-bake.hcl").unlink()
    (cwd / "docker-bake.hcl").symlink_to(cwd.parent / "other.hcl")
    code, log = start(env, cwd)
    assert code == 2
    assert "input files" in log
    assert "secret of the runner" not in log


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"INPUT_SET": "app.colour=red"}, "input set"),
        ({"INPUT_VARS": "VERSION"}, "input vars"),
        ({"INPUT_FILES": "missing.hcl"}, "input files"),
        ({"INPUT_JOBS": "fast"}, "input jobs"),
        ({"INPUT_ALLOW": "everything"}, "input allow"),
        ({"INPUT_SOURCE": "missing"}, "input source"),
        ({"INPUT_SOURCE": "https://git.example/a/b.git", "INPUT_WORKDIR": "."}, "input workdir"),
        ({"INPUT_CONTEXT": "."}, "unknown input"),
        ({"INPUT_PLATFORMS": "linux/amd64"}, "unknown input"),
    ],
)
def test_errors_name_the_input(
    inputs: dict[str, str], said: str, env: dict[str, str], cwd: Path, bake: FakeBake
) -> None:
    code, log = start(env | inputs, cwd)
    assert (code, bake.jobs) == (2, ())
    assert said in log
    assert "--" not in log


_PAIRS = [(name, at) for at in range(60) for name in "ab"]
DOUBLING = "".join(f'group "{name}{at}" {{ targets = ["a{at + 1}", "b{at + 1}"] }}\n' for name, at in _PAIRS)
MANY = 'target "a0" {\n matrix = { x = range(0, 40), y = range(0, 40) }\n name = "t${x}-${y}"\n}\n'


@pytest.mark.parametrize(
    ("definition", "seconds", "said"),
    [
        (f'{DOUBLING}target "a60" {{}}\ntarget "b60" {{}}\n', 0.2, "the definition takes more than"),
        (MANY, limits.SECONDS, "1600 targets are requested, more than 1000"),
    ],
)
def test_a_definition_has_the_bounds_of_the_command(
    definition: str,
    seconds: float,
    said: str,
    env: dict[str, str],
    cwd: Path,
    bake: FakeBake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SECONDS", seconds)
    (cwd / "docker-bake.hcl").write_text(definition)
    code, log = start(env | {"INPUT_TARGETS": "a0"}, cwd)
    assert (code, bake.jobs) == (2, ())
    assert said in log


def test_paths_of_the_builder_are_relative_to_the_workspace(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    (cwd / "buildkitd.toml").write_text("debug = true\n")
    (cwd / "inner").mkdir()
    (cwd / "inner" / "bake.json").write_text('{"target": {"default": {"context": ".."}}}')
    given = {"INPUT_SOURCE": "", "INPUT_WORKDIR": "inner", "INPUT_FILES": "bake.json"}
    code, log = start(env | given | {"INPUT_BUILDKITD-CONFIG": "buildkitd.toml"}, cwd)
    assert code == 0, log
    assert bake.session is not None
    assert bake.session.settings.builder.buildkitd_config == "debug = true\n"
    context = bake.jobs[0].settings.build.context
    assert isinstance(context, Path)
    assert context.resolve() == cwd.resolve()


def test_a_definition_in_git_gets_the_jobs_token_on_its_own_server_only(
    env: dict[str, str], cwd: Path, bake: FakeBake, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def fetch(url: str, _names: object, shared: object, *_: object) -> list[DefinitionFile]:
        seen.append((url, shared.env.get("BUILDX_BAKE_GIT_AUTH_TOKEN", "")))  # type: ignore[attr-defined]
        return [DefinitionFile(name="docker-bake.hcl", text='target "default" {}\n')]

    monkeypatch.setattr("ci_buildx.ci.bake.read_remote_files", fetch)
    given = {"INPUT_GITHUB-TOKEN": "ghs_token-of-the-job", "GITHUB_SHA": "c0ffee", "GITHUB_REF": "refs/heads/main"}
    code, log = start(env | given | {"INPUT_SOURCE": ""}, cwd)
    assert code == 0, log
    secrets = bake.jobs[0].settings.build.secrets
    assert [secret.id for secret in secrets] == ["GIT_AUTH_TOKEN.git.example"]
    assert bake.jobs[0].settings.build.context == "https://git.example/team/app.git#c0ffee"
    start(env | given | {"INPUT_SOURCE": "https://other.example/team/app.git#main"}, cwd)
    assert seen == [
        ("https://git.example/team/app.git#c0ffee", "ghs_token-of-the-job"),
        ("https://other.example/team/app.git#main", ""),
    ]
    assert bake.jobs[0].settings.build.secrets == ()


def test_git_secrets_are_for_the_host_of_the_definition() -> None:
    from ci_buildx.bake.paths import list_git_secrets

    env = {"BUILDX_BAKE_GIT_AUTH_TOKEN": "t"}
    found = ("id=GIT_AUTH_TOKEN.git.example:8443,env=BUILDX_BAKE_GIT_AUTH_TOKEN",)
    there = "https://git.example:8443/a.git"
    assert list_git_secrets(f"{there}#main", there, env) == found
    for other in ("https://git.example/a.git", "https://git.example:8443@evil.example/a.git", "docker-image://x", "."):
        assert list_git_secrets(there, other, env) == ()
    assert list_git_secrets(there, there, {}) == ()
    assert remote.write_dockerfile(["a.hcl"]).count("COPY") == 1


MATRIX = """
group "all" { targets = ["lint", "app"] }
target "lint" { target = "lint" }
target "app" {
  platforms = ["linux/amd64", "linux/arm64"]
  tags = ["a:1"]
}
"""


def test_a_matrix_has_an_entry_for_each_value_of_the_fields(env: dict[str, str], cwd: Path) -> None:
    (cwd / "docker-bake.hcl").write_text(MATRIX)
    env.pop("INPUT_SOURCE")
    assert start(env | {"INPUT_TARGET": "all", "INPUT_FIELDS": "platforms"}, cwd, ActionKind.MATRIX)[0] == 0
    assert json.loads(read(env["GITHUB_OUTPUT"])["matrix"]) == [
        {"target": "app", "platforms": "linux/amd64"},
        {"target": "app", "platforms": "linux/arm64"},
        {"target": "lint"},
    ]


def test_the_targets_are_listed(env: dict[str, str], cwd: Path) -> None:
    (cwd / "docker-bake.hcl").write_text(MATRIX)
    env.pop("INPUT_SOURCE")
    assert start(env | {"INPUT_TARGET": "all"}, cwd, ActionKind.LIST_TARGETS)[0] == 0
    assert json.loads(read(env["GITHUB_OUTPUT"])["targets"]) == ["app", "lint"]
    code, log = start(env | {"INPUT_TARGET": "all", "INPUT_FIELDS": "tags"}, cwd, ActionKind.LIST_TARGETS)
    assert (code, "unknown input 'fields'" in log) == (2, True)


def test_a_matrix_without_fields_has_the_targets() -> None:
    targets = {"a": {"platforms": ["x", "y"], "context": "."}, "b": {}}
    assert make_matrix(targets, []) == [{"target": "a"}, {"target": "b"}]
    assert make_matrix(targets, ["context", "platforms"]) == [
        {"target": "a", "platforms": "x"},
        {"target": "a", "platforms": "y"},
        {"target": "a", "platforms": "y", "context": "."},
        {"target": "b"},
    ]
