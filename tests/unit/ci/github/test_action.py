"""The GitHub Action's entry point, as the runner sees it: variables in, files and commands out."""

from __future__ import annotations

import io
import json
import re
import signal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import commands as github_commands
from ci_buildx.ci.github import inputs
from ci_buildx.cli.main import main as command
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError, Interrupted, SolveError
from ci_buildx.model.debug import get_log
from ci_buildx.model.record import replace
from ci_buildx.progress.ci_logs import defuse_commands, escape_value
from ci_buildx.settings.option import OptionSurface
from tests.unit.ci.fake_job import RESULT, FakeJob
from tests.unit.ci.github.conftest import report
from tests.unit.ci.github.runner import RUNNER, read, run

ROOT = Path(__file__).parents[4]
FILES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The variables of a step that builds and pushes."""
    return RUNNER | {name: str(tmp_path / name) for name in FILES}


NOT_BY_VARIABLE = {"bundle", "python", "github-token"}
"""Read before us, and always given by the runner."""


def test_outputs_are_there_before_the_builder_is_removed(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    def killed() -> None:
        assert read(env["GITHUB_OUTPUT"])["digest"] == RESULT.digest
        raise KeyboardInterrupt

    job.on_remove = killed
    with pytest.raises(KeyboardInterrupt):
        run(env, cwd)


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        ("GITHUB_OUTPUT", 1, "::error title=kube-builder::"),
        ("GITHUB_STEP_SUMMARY", 0, "::warning title=kube-builder::"),
    ],
)
def test_a_full_disk_of_the_runner(
    file: str, code: int, said: str, env: dict[str, str], cwd: Path, job: FakeJob
) -> None:
    job.report = report()
    ended, log = run(env | {file: "/dev/full"}, cwd)
    assert ended == code
    assert f"{said}cannot write to the file of {file}: No space left on device" in log


@pytest.mark.parametrize("name", [one.name for one in offered.list_inputs(OptionSurface.GITHUB)])
def test_an_input_that_is_not_given_comes_from_its_variable(name: str, tmp_path: Path) -> None:
    """With what the runner hands over then: the defaults that action.yml declares, else nothing."""
    declared = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    env = {f"INPUT_{each.upper()}": str(one.get("default", "")) for each, one in declared.items()}
    variable, said = offered.BY_NAME[name].variable, "true"
    given = inputs.add_variables(inputs.read_inputs(env | {variable: said}, tmp_path))
    assert given.values.get(name) == (said if name not in NOT_BY_VARIABLE else given.values.get(name))
    told = inputs.add_variables(inputs.read_inputs(env | {variable: said, f"INPUT_{name.upper()}": "told"}, tmp_path))
    assert told.find_source(name) == (f"input {name}" if name != "python" else name)


def test_each_input_of_the_table_is_read_from_its_variable() -> None:
    of_the_wrapper = (offered.PYTHON, offered.BUNDLE)
    names = [option.name for option in offered.list_inputs(OptionSurface.GITHUB) if option not in of_the_wrapper]
    given = inputs.read_inputs({f"INPUT_{name.upper()}": f"value of {name}" for name in names}, Path())
    assert given.values == {name: f"value of {name}" for name in names}
    assert given.find_source("build-args") == "input build-args"


def test_empty_inputs_and_the_wrappers_own_count_as_not_given() -> None:
    given = inputs.read_inputs({"INPUT_FILE": "", "INPUT_TARGET": " \n", "INPUT_PYTHON": "python3.12"}, Path())
    assert (given.values, given.sources) == ({}, {})


@pytest.mark.parametrize(
    ("name", "nearest"), [("PLATFORM", "platforms"), ("BUILD_ARGS", "build-args"), ("PYTHONS", "python")]
)
def test_an_unknown_input_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown input '{name.lower()}'; did you mean '{nearest}'?"):
        inputs.read_inputs({f"INPUT_{name}": "x"}, Path())


@pytest.mark.parametrize("name", ["KEEP", "IIDFILE", "METADATA-FILE", "PRINT"])
def test_what_only_the_command_line_offers_is_no_input(name: str) -> None:
    with pytest.raises(InputError, match="unknown input"):
        inputs.read_inputs({f"INPUT_{name}": "x"}, Path())


def test_a_kubeconfigs_file_is_announced_before_it_is_there(tmp_path: Path, cwd: Path, job: FakeJob) -> None:
    env = RUNNER | {"INPUT_KUBECONFIG": "kind: Config\nclusters: []\n", "RUNNER_TEMP": str(tmp_path)}
    env |= {"GITHUB_STATE": str(tmp_path / "state")}
    left: list[Path] = []

    def remember() -> None:
        path = Path(read(env["GITHUB_STATE"])["kubeconfig"])
        assert path.is_file()
        left.append(path)

    job.on_create = remember
    assert run(env, cwd)[0] == 0
    (path,) = left
    assert not path.exists()
    path.write_text("what a killed step leaves")
    run(env | {"STATE_kubeconfig": str(path)}, cwd, post=True)
    assert not path.exists()


def test_kubeconfig_content_is_a_file_for_as_long_as_the_step_runs(tmp_path: Path) -> None:
    given = inputs.read_inputs(
        {"INPUT_KUBECONFIG": "kind: Config\nclusters: []\n", "RUNNER_TEMP": str(tmp_path)}, tmp_path
    )
    with inputs.write_kubeconfig(given) as with_file:
        path = Path(with_file.read_text("kubeconfig"))
        assert path.read_text().startswith("kind: Config")
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_the_name_is_saved_before_anything_exists(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    saved: dict[str, str] = {}
    job.on_create = lambda: saved.update(read(env["GITHUB_STATE"]))
    assert run(env, cwd)[0] == 0
    assert job.identity is not None
    assert saved == {"builder": job.identity.name}


def test_a_shared_namespace_is_saved_too(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.namespace = "ci"
    run(env, cwd)
    assert read(env["GITHUB_STATE"])["namespace"] == "ci"


def test_nothing_is_saved_for_bad_input(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    code, log = run(env | {"INPUT_PLATFORMS": "linux/amd46"}, cwd)
    assert code == 2
    assert log.startswith("::error title=kube-builder::input platforms: ")
    assert log.count("\n") == 1
    assert not Path(env["GITHUB_STATE"]).exists()


def test_the_builder_is_marked_with_its_job(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    run(env, cwd)
    assert job.identity is not None
    assert job.identity.name.startswith("kube-builder-app-")
    assert job.identity.labels["kube-builder.dev/ci"] == "github"
    assert job.identity.labels["kube-builder.dev/run"] == "77-2"
    assert job.identity.labels["kube-builder.dev/job"] == "image"
    assert job.identity.annotations["kube-builder.dev/repository"] == "team/app"
    assert job.identity.annotations["kube-builder.dev/run-url"] == "https://git.example/team/app/actions/runs/77"


def test_matrix_legs_have_builders_of_their_own(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    names = set()
    for _ in range(2):
        run(env, cwd)
        assert job.identity is not None
        names.add(job.identity.name)
    assert len(names) == 2


def test_outputs_and_summary(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    code, log = run(env, cwd)
    assert code == 0
    outputs = read(env["GITHUB_OUTPUT"])
    assert outputs["digest"] == RESULT.digest
    assert outputs["imageid"] == RESULT.image_id
    assert json.loads(outputs["metadata"]) == RESULT.metadata
    summary = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert "| image | <code>registry.example/team/app&#58;1</code> |" in summary
    assert "| platform | linux/amd64 3.21MB compressed |" in summary
    assert "| boot | 1.2 s |" in summary
    assert "platforms linux/amd64, linux/arm64" in log


def test_secrets_are_masked_line_by_line_before_the_build_says_anything(
    env: dict[str, str], cwd: Path, job: FakeJob
) -> None:
    log = run(env | {"INPUT_SECRETS": "id=key,env=KEY\ntoken=hunter2 50%", "KEY": "1st line\n\n1\nsecond line"}, cwd)[1]
    masks = ["::add-mask::1st line", "::add-mask::second line", "::add-mask::hunter2 50%25"]
    assert log.splitlines()[:3] == masks


def test_no_mask_takes_an_output_away(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    """The runner drops outputs that hold a masked text, and replaces it in every line of the log."""
    key = json.dumps({"a": {"b": [1, {"token": "hunter2"}]}, "on": True}, indent=4).replace("1,", "1\n,")
    log = run(env | {"INPUT_SECRETS": "id=key,env=KEY", "KEY": f"{key}\n1\na\n\n"}, cwd)[1]
    masks = [line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")]
    assert '                "token": "hunter2"' in masks
    outputs = read(env["GITHUB_OUTPUT"])
    assert {"digest", "imageid", "metadata"} <= outputs.keys()
    assert not [(mask, name) for mask in masks for name, value in outputs.items() if mask in value]


@pytest.mark.parametrize("secret", ["1", "abc", "abc\n", "\n1\n"])
def test_a_secret_of_one_line_is_masked_whatever_its_length(
    env: dict[str, str], cwd: Path, job: FakeJob, secret: str
) -> None:
    log = run(env | {"INPUT_SECRETS": "id=key,env=KEY", "KEY": secret}, cwd)[1]
    assert f"::add-mask::{secret.strip()}\n" in log


def test_a_failed_build_is_an_annotation(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.failure = SolveError("process failed:\nexit code 1, 100%")
    job.failure.add_note("not removed: namespace x")
    code, log = run(env, cwd)
    assert code == 1
    assert [line for line in log.splitlines() if "::error" in line or "not removed" in line] == [
        "::error title=kube-builder::process failed:%0Aexit code 1, 100%25",
        "::warning title=kube-builder::not removed: namespace x",
    ]


def test_an_interruption_has_its_exit_code(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.failure = Interrupted(signal.SIGINT)
    code, log = run(env, cwd)
    assert code == 130
    assert "::error title=kube-builder::interrupted by SIGINT\n" in log


def test_post_removes_the_saved_builder(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    code, log = run(env | {"STATE_builder": "kube-builder-x", "STATE_namespace": "ci"}, cwd, post=True)
    assert (code, log) == (0, "kube-builder-x: removed\n")
    assert job.removed["name"] == "kube-builder-x"
    assert job.removed["namespace"] == "ci"


def test_post_after_a_clean_main_step(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.found = False
    assert run(env | {"STATE_builder": "x"}, cwd, post=True) == (0, "x: nothing is left\n")


def test_post_works_when_the_checkout_is_gone(env: dict[str, str], tmp_path: Path, job: FakeJob) -> None:
    gone = {"INPUT_BUILDKITD-CONFIG": "gone.toml", "INPUT_FILE": "gone", "STATE_builder": "x"}
    assert run(env | gone, tmp_path, post=True)[0] == 0


def test_post_without_state_does_nothing(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    assert run(env, cwd, post=True) == (0, "")
    assert not job.removed


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_a_workflow_command_is_one_line_and_can_be_read_back(text: str) -> None:
    escaped = escape_value(text)
    assert "\n" not in escaped
    assert "\r" not in escaped
    # actions/runner, src/Runner.Common/ActionCommand.cs: the percent sign is unescaped last.
    assert escaped.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") == text


@given(st.lists(st.sampled_from(["::", "##[", "\r", "\n", " ", "\t", "save-state name=x", "]", ":", "#"])).map("".join))
def test_text_of_others_holds_no_command(text: str) -> None:
    shown = defuse_commands(text)
    # Python's lines end where .NET's do, and at more characters.
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in shown.splitlines())
    assert defuse_commands("#4 0.1 std::vector") == "#4 0.1 std::vector"


@pytest.mark.parametrize("progress", ["plain", "rawjson", "quiet", "github"])
def test_what_a_frontend_says_is_no_command(env: dict[str, str], cwd: Path, job: FakeJob, progress: str) -> None:
    job.result = replace(RESULT, answer="TARGET\n::set-output name=digest::forged\n  ::save-state name=builder::x\n")
    job.log = "" if progress == "github" else "#1 ok\r::set-output name=digest::forged\n"
    _, log = run(env | {"INPUT_PROGRESS": progress, "INPUT_CALL": "outline"}, cwd)
    assert "forged" in log
    commands = [line for line in log.splitlines() if line.lstrip().startswith("::")]
    assert [line for line in commands if not line.startswith("::warning file=")] == []


def test_a_value_cannot_end_its_own_entry(tmp_path: Path) -> None:
    env = {"GITHUB_OUTPUT": str(tmp_path / "output")}
    value = "a\nend-0000\nother=1"
    github_commands.append_value(env, "GITHUB_OUTPUT", "text", value)
    github_commands.append_value(env, "GITHUB_OUTPUT", "next", "")
    assert read(env["GITHUB_OUTPUT"]) == {"text": value, "next": ""}
    assert re.fullmatch(r"text<<end-[0-9a-f]{16}", (tmp_path / "output").read_text().splitlines()[0])


@pytest.mark.parametrize(("given", "expected"), [("", "github"), ("auto", "github"), ("plain", "plain")])
def test_progress_is_lines_also_on_a_terminal(
    given: str, expected: str, env: dict[str, str], cwd: Path, job: FakeJob
) -> None:
    run(env | {"INPUT_PROGRESS": given}, cwd)
    assert job.settings is not None
    assert job.settings.build.progress == expected


def test_the_debug_log_is_beside_the_log_of_the_step(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    password = "hush-of-the-registry"
    env |= {"GITHUB_ACTIONS": "true", "RUNNER_DEBUG": "1", "INPUT_REGISTRY": "registry.example", "HOME": str(cwd)}
    env |= {"INPUT_USERNAME": "me", "INPUT_PASSWORD": password, "GITHUB_EVENT_NAME": "push"}
    env["INPUT_SECRETS"] = "npm=hush-of-npm-1"
    job.on_create = lambda: get_log("build").debug("%s %s", password, "hush-of-npm-1")
    around = ProcessContext(env=env, cwd=cwd, stdout=io.StringIO(), stderr=io.StringIO())
    assert command(["github"], around) == 0
    assert isinstance(around.stdout, io.StringIO)
    assert isinstance(around.stderr, io.StringIO)
    logged = around.stderr.getvalue()
    assert " DEBUG ci_buildx.ci: GitHub: event push, trust scope " in logged
    assert "tags (input tags)" in logged
    assert all(re.match(r"\d{4}-", line) for line in logged.splitlines())
    assert " DEBUG ci_buildx.build: *** ***\n" in logged
    assert "hush" not in logged
    assert "DEBUG" not in around.stdout.getvalue()


def test_errors_speak_of_inputs(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    wrong = env | {"INPUT_TAGS": "", "INPUT_OUTPUTS": "type=image,push=true"}
    code, log = run(wrong, cwd)
    assert code == 2
    assert "::error title=kube-builder::input push: missing image name to push to; add a tag" in log
    job.failure = SolveError("no SSH agent 'default' is forwarded", fix="add --ssh default")
    code, log = run(env, cwd)
    assert "::error title=kube-builder::no SSH agent 'default' is forwarded; add input ssh: default" in log


@pytest.mark.parametrize(("text", "expected"), [("", "input kubeconfig"), ("/none", "")])
def test_an_empty_kubeconfig_is_a_secret_that_is_missing(
    text: str, expected: str, env: dict[str, str], cwd: Path, job: FakeJob, tmp_path: Path
) -> None:
    if text:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
        text = str(kubeconfig)
    run(env | {"INPUT_KUBECONFIG": text}, cwd)
    assert job.settings is not None
    assert job.settings.cluster.empty_input == expected
    assert job.settings.surface is OptionSurface.GITHUB
