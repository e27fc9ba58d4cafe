"""The command line as a user types it: verbs, options, help, and the lines that refuse them."""

from __future__ import annotations

import errno
import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ci_buildx import __version__
from ci_buildx.build.result import BuildResult
from ci_buildx.cli import build
from ci_buildx.cli.main import ALIASES, VERBS, find_verb, list_words, main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.options import list_options
from ci_buildx.settings.values import ProgressMode, Settings

OF_ISSUE = (
    "-f",
    "--file",
    "-t",
    "--tag",
    "--platform",
    "--push",
    "--build-arg",
    "--target",
    "--label",
    "--annotation",
    "--no-cache",
    "--pull",
    "--secret",
    "--cache-from",
    "--cache-to",
    "-o",
    "--output",
    "--metadata-file",
    "--iidfile",
    "--progress",
    "--driver-opt",
    "--buildkitd-config",
    "--buildkitd-flags",
    "--keep",
    "--transport",
    "--builder",
    "--namespace",
    "--provenance",
    "--sbom",
    "--lifetime",
    "--kubeconfig",
    "--kube-context",
)
UNCONFIRMED = "--force: confirmation required, but stdin is not interactive; add it to skip the question"
ALLOWED = "use 1 to 63 characters: a-z, 0-9 and, except at the ends, '-'"
HEAVY = ("ssl", "yaml", "grpc", "kubernetes", "requests", "rich", "cryptography", "urllib3", "asyncio", "logging")


def world(cwd: Path, env: dict[str, str] | None = None) -> ProcessContext:
    return ProcessContext(env=env or {}, cwd=cwd, stdout=io.StringIO(), stderr=io.StringIO())


def run(cwd: Path, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    around = world(cwd)
    code = main(argv, around)
    assert isinstance(around.stdout, io.StringIO)
    assert isinstance(around.stderr, io.StringIO)
    return code, around.stdout.getvalue(), around.stderr.getvalue()


def parse(cwd: Path, *argv: str, env: dict[str, str] | None = None) -> Settings:
    return build.parse_settings(argv, world(cwd, env))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["bild"], "unknown verb 'bild'; did you mean 'build'?"),
        (["--halp"], "unknown option '--halp'; known: " + ", ".join(list_words())),
        (["build"], "missing build context; name a folder or a URL, such as . for the current folder"),
        (["build", "--platfrom", "x", "."], "unknown option --platfrom; did you mean --platform?"),
        (["build", "--xyzzy", "."], "unknown option --xyzzy; see kube-builder build --help"),
        (
            ["build", "--policy", "filename=x.rego", "."],
            (
                "--policy: Rego is not supported; only docker buildx evaluates 'x.rego'; "
                "write the policy as JSON and name its file in EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
            ),
        ),
        (["build", "-q", "--progress=plain", "."], "--quiet: cannot be combined with --progress=plain; set only one"),
        (
            ["rm", "default"],
            (
                "NAME: context builder cannot be removed: 'default' means no builder; "
                "name a builder; kube-builder ls lists all"
            ),
        ),
        (
            ["ls", "--format", "wide"],
            "--format: unknown value 'wide'; known: table, json, or a Go template such as '{{.Name}}'",
        ),
        (["build", ".", "-t"], "--tag: requires a value"),
        (["build", ".", "x"], "unexpected argument 'x'; see kube-builder build --help"),
        (
            ["build", "-t", "App", "."],
            ("--tag: invalid tag 'App': repository name 'App' must be lower-case; write it like registry/name:tag"),
        ),
        (["build", "--push=maybe", "."], "--push: 'maybe' is neither true nor false; write true or false"),
        (["build", "-f", "none", "."], "--file: Dockerfile 'none' does not exist; found: Dockerfile"),
        (["build", "nowhere"], "PATH|URL: context folder 'nowhere' does not exist"),
        (["rm"], "missing builder name; add a name, or select a builder with kube-builder use NAME"),
        (["rm", "A_b"], f"NAME: invalid name 'A_b'; {ALLOWED}"),
        (["rm", "--all-inactive", "x"], "--all-inactive: cannot be combined with names; omit one"),
        (["rm", "--all-inactive"], UNCONFIRMED),
        (
            ["rm", "--keep-daemon", "x"],
            (
                "option --keep-daemon of docker buildx is not supported; omit it; "
                "kube-builder stop stops the pods of a builder and keeps the builder"
            ),
        ),
        (
            ["create", "--driver", "docker-container"],
            (
                "--driver: driver 'docker-container' of docker buildx is not supported; "
                "use kubernetes, the only driver of kube-builder, or docker buildx"
            ),
        ),
        (["create", "--driver", "kubernets"], "--driver: unknown driver 'kubernets'; did you mean 'kubernetes'?"),
        (["create", "--append"], "--append: requires the name of a builder; add --name"),
        (
            ["create", "--leave", "--name", "k"],
            "--leave: requires a builder and one of its nodes; add --name and --node",
        ),
        (["create", "--name", "default"], "--name: name 'default' is reserved; choose another name"),
        (
            ["create", "--name", "kube-builder-x"],
            "--name: name 'kube-builder-x' is reserved for job builders; choose another name",
        ),
        (["create", "--node", "n" * 51], f"--node: name '{'n' * 51}' is longer than 50 characters"),
        (
            ["create", "ssh://host"],
            (
                "ENDPOINT: driver kubernetes does not accept an endpoint: 'ssh://host'; select the cluster "
                "with --kubeconfig and --kube-context"
            ),
        ),
        (
            ["create", "--platform", "linux/amd46"],
            "--platform: unknown architecture 'amd46' in platform 'linux/amd46'; did you mean 'amd64'?",
        ),
        (["use"], "missing builder name; write kube-builder use NAME; see kube-builder ls"),
        (["use", "--global", "--default", "x"], "--global: contradicts --default; set only one"),
        (["scale", "x"], "--replicas: is required; set the number of pods per node"),
        (["scale", "--replicas", "-1", "x"], "--replicas: '-1' is not a whole number"),
        (["ls", "--timeout", "soon"], "--timeout: 'soon' is not a duration; write it like 90s, 2m or 1h30m"),
        (["du", "--verbose", "--format", "json", "x"], "--verbose: cannot be combined with --format; set only one"),
        (["du", "--filter", "typ=regular", "x"], "--filter: unknown filter 'typ'; did you mean 'type'?"),
        (
            ["prune", "--filter", "until=1h", "--filter", "unused-for=1h", "x"],
            "--filter: 'until' and 'unused-for' are the same; set only one",
        ),
        (
            ["prune", "--reserved-space", "much", "x"],
            "--reserved-space: 'much' is not a size; write it like 512MB or 10GB",
        ),
        (
            ["prune", "--keep-storage", "1GB", "x"],
            "option --keep-storage of docker buildx is not supported; use --reserved-space",
        ),
        (["prune", "x"], UNCONFIRMED),
        (
            ["exec", "kube", "buildctl", "du"],
            "unexpected argument 'buildctl'; write it after --, as in: kube-builder exec kube -- buildctl du",
        ),
        (["logs", "--tail", "few", "x"], "--tail: 'few' is not a whole number"),
        (["rm", "--namespace", "A_b", "x"], f"--namespace: invalid namespace 'A_b'; {ALLOWED}"),
        (["build", "--builder", "A b", "."], f"--builder: invalid name 'A b'; {ALLOWED}"),
        (["reap", "--kubeconfig", "none"], "--kubeconfig: kubeconfig 'none' does not exist"),
        (["reap", "--kubeconfig", "."], "--kubeconfig: kubeconfig '.' is a folder; name a kubeconfig file"),
        (["doctor", "https://r.io"], "REGISTRY: 'https://r.io' is not a registry host; write it like host:5000"),
        (["doctor", "r.io:99999"], "REGISTRY: 'r.io:99999' is not a registry host; write it like host:5000"),
        (
            ["github"],
            (
                "GITHUB_ACTIONS is not set; `kube-builder github` runs in a job of GitHub Actions; elsewhere use "
                "`kube-builder build`"
            ),
        ),
        (
            ["build", "-m", "1g", "."],
            "option -m of docker buildx is not supported; use --resource memory=…",
        ),
        (
            ["build", "--cpu-quota=1", "."],
            "option --cpu-quota of docker buildx is not supported; use --resource cpu-quota=…",
        ),
        (
            ["build", "--isolation", "hyperv", "."],
            "option --isolation of docker buildx is not supported; omit it: BuildKit has no isolation modes",
        ),
        (
            ["build", "--squash", "."],
            (
                "option --squash of docker buildx is not supported; omit it: BuildKit does not squash layers; copy "
                "the result into a stage of its own"
            ),
        ),
        (
            ["build", "--rm", "."],
            "option --rm of docker buildx is not supported; omit it: BuildKit keeps no intermediate containers",
        ),
        (
            ["build", "--cache-to", "type=s3,region=r", "."],
            "--cache-to: cache type=s3 requires bucket; add bucket=…",
        ),
        (["version", "x"], "unexpected argument 'x'; see kube-builder version --help"),
        (["version", "--format", "yaml"], "--format: unknown value 'yaml'; known: buildx, text, json"),
        (["--version", "--format="], "--format: unknown value ''; known: buildx, text, json"),
    ],
)
def test_refuses_in_one_line(cwd: Path, argv: list[str], message: str) -> None:
    assert run(cwd, *argv) == (2, "", f"kube-builder: error: {message}\n")


def test_the_error_for_a_missing_answer_is_not_in_the_prompts_line(cwd: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert main(["prune", "x"], ProcessContext(env={}, cwd=cwd, stdout=out, stderr=err, stdin=io.StringIO(""))) == 2
    assert out.getvalue().endswith("[y/N] \n")
    assert err.getvalue() == f"kube-builder: error: {UNCONFIRMED}\n"


def test_options_are_read_as_docker_reads_them(cwd: Path) -> None:
    settings = parse(
        cwd,
        "-tapp:1",
        "-t=app:2",
        "--tag=app:3",
        "--push=false",
        "--pull",
        "--buildkitd-flags",
        "--debug",
        "-o",
        "-",
        ".",
    )
    assert settings.build.tags == ("app:1", "app:2", "app:3")
    assert (settings.build.push, settings.build.pull) == (False, True)
    assert settings.builder.buildkitd_flags == ("--debug",)
    assert settings.build.outputs[0].type == "tar"
    assert parse(cwd, "--push", "-t", "a", "--", ".").build.push


def test_an_argument_wins_over_its_variable(cwd: Path) -> None:
    env = {"KUBE_BUILDER_TAGS": "from-env", "KUBE_BUILDER_TARGET": "test", "KUBE_BUILDER_CONTEXT": "."}
    settings = parse(cwd, "-t", "from-argv", env=env)
    assert (settings.build.tags, settings.build.target) == (("from-argv",), "test")
    with pytest.raises(InputError, match=r"^KUBE_BUILDER_PLATFORMS: unknown architecture"):
        parse(cwd, env={**env, "KUBE_BUILDER_PLATFORMS": "linux/amd46"})


def test_secrets_are_never_values_in_argv(cwd: Path) -> None:
    with pytest.raises(InputError, match="unknown secret key 'token'") as caught:
        parse(cwd, "--secret", "token=hunter2", ".")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_has_every_option_with_a_description(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = build.make_parser().format_help()
    words = text.replace(",", " ").split()
    assert [name for name in OF_ISSUE if name not in words] == []
    joined = " ".join(text.split())
    for option in list_options(OptionSurface.CLI):
        assert option.help
        expected = option.description if option.flags else option.help
        assert " ".join(expected.split()) in joined
    assert "exit codes:" in text
    assert max(map(len, text.splitlines())) <= int(columns)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cwd: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(cwd, *verb.split(), "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: kube-builder {verb}")
    assert "example" in text
    assert f"  {verb} " in run(cwd, "--help")[1]


@pytest.mark.parametrize(("earlier", "verb"), ALIASES.items())
def test_earlier_names_of_verbs_still_work(earlier: str, verb: str) -> None:
    assert find_verb([earlier, "--post"]) == (verb, ["--post"])
    assert earlier not in VERBS


def test_no_verb_is_the_first_word_of_another() -> None:
    found = [verb for verb in VERBS if any(other.startswith(f"{verb} ") for other in VERBS)]
    assert found == ["history inspect"], "as in buildx: no record has the reference attachment"


def test_a_variable_may_choose_the_display_that_auto_leaves_open(cwd: Path) -> None:
    env = {"BUILDKIT_PROGRESS": "quiet"}
    assert parse(cwd, "--progress", "auto", ".", env=env).build.progress is ProgressMode.QUIET
    assert parse(cwd, "--progress", "plain", ".", env=env).build.progress is ProgressMode.PLAIN
    assert parse(cwd, "-q", ".").build.progress is ProgressMode.QUIET


@pytest.mark.parametrize("option", ["--label", "--build-arg"])
def test_an_error_that_scripts_know_is_that_of_docker_buildx(cwd: Path, option: str) -> None:
    assert run(cwd, "build", option, "=x", ".") == (2, "", 'ERROR: invalid key-value pair "=x": empty key\n')
    env = {"KUBE_BUILDER_LABELS": "=x"}
    around = world(cwd, env)
    assert main(["build", "."], around) == 2
    assert isinstance(around.stderr, io.StringIO)
    assert around.stderr.getvalue().startswith("kube-builder: error: KUBE_BUILDER_LABELS: invalid key-value pair")


def test_version(cwd: Path) -> None:
    assert run(cwd, "version") == (0, f"kube-builder v{__version__}\n", "")
    assert run(cwd, "--version") == run(cwd, "version", "--format", "text") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("machine", "shown"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("riscv64", "linux/riscv64")]
)
def test_version_as_json(cwd: Path, machine: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys and their order are promised to scripts."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.1")
    line = (
        f'{{"version": "{__version__}", "python": "3.12.1", "platform": "{shown}", '
        '"image": "moby/buildkit:buildx-stable-1"}\n'
    )
    assert run(cwd, "version", "--format", "json") == run(cwd, "--version", "--format=json") == (0, line, "")


RESULT = BuildResult(
    digest="sha256:1",
    image_id="sha256:2",
    references=("r/a:1", "r/a:2"),
    platforms=(Platform("linux", "amd64"), Platform("linux", "arm64")),
    phases={"boot": 1.26, "build": 10.0},
)


@pytest.mark.parametrize(
    ("progress", "stdout", "stderr"),
    [
        (ProgressMode.QUIET, "sha256:2\n", ""),
        (ProgressMode.RAWJSON, "", ""),
        (ProgressMode.NONE, "", ""),
        (
            ProgressMode.PLAIN,
            "",
            (
                "\nimage     r/a:1\nimage     r/a:2\ndigest    sha256:1\nplatforms linux/amd64, linux/arm64\n"
                "time      boot 1.3 s, build 10.0 s\n"
            ),
        ),
    ],
)
def test_report(cwd: Path, progress: ProgressMode, stdout: str, stderr: str) -> None:
    around = world(cwd)
    settings = parse(cwd, "--progress", progress, ".")
    build.print_result(RESULT, settings, stdout=around.stdout, stderr=around.stderr)
    assert isinstance(around.stdout, io.StringIO)
    assert isinstance(around.stderr, io.StringIO)
    assert (around.stdout.getvalue(), around.stderr.getvalue()) == (stdout, stderr)


def test_a_summary_that_cannot_be_shown_fails_no_build(cwd: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    build.print_result(RESULT, parse(cwd, "."), stdout=io.StringIO(), stderr=Full())


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ci_buildx.cli.build import parse_settings; from ci_buildx.cli.process import read_process\n"
        f"import ci_buildx.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python("-c", code).stdout == "[]\n"
    imported = python("-X", "importtime", "-m", "ci_buildx", "build", "--help").stderr
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert "argparse" in names
    assert names.isdisjoint(HEAVY)


SLOW_IMPORT = """
import sys, threading, time
from importlib.machinery import PathFinder
from ci_buildx.cli.main import close_folders

began = threading.Event()

class Slow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = PathFinder.find_spec(name, path, target)
        if name == "ci_buildx.fsutil.scratch":
            work = found.loader.exec_module
            def exec_module(module):
                began.set()
                time.sleep(0.3)
                work(module)
            found.loader.exec_module = exec_module
        return found

sys.meta_path.insert(0, Slow)
threading.Thread(target=__import__, args=("ci_buildx.fsutil.scratch",), daemon=True).start()
began.wait()
close_folders()
print(sys.modules["ci_buildx.fsutil.scratch"]._over)
"""


def test_the_end_waits_for_a_thread_that_still_imports() -> None:
    ended = python("-c", SLOW_IMPORT)
    assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_a_reader_who_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        ended = subprocess.run(
            [sys.executable, "-m", "ci_buildx", "version"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_builder_that_cannot_be_remembered_is_not_made(cwd: Path) -> None:
    code, _, said = run(cwd, "create", "--use", "--name", "kube")
    assert code == 2
    assert said == ("kube-builder: error: missing folder for the current builder; set HOME or XDG_STATE_HOME\n")
