"""The debug log: who switches it on, what a line looks like, and that no secret is in it."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from ci_buildx.cli import debug as end
from ci_buildx.cli.main import VERBS, main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.model import debug
from ci_buildx.model.secret import Secret, mention
from ci_buildx.progress import display
from ci_buildx.settings.values import ProgressMode
from tests.unit.conftest import DebugLog
from tests.unit.kube.authority import Authority
from tests.unit.kube.scripted import refused, scripted

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z DEBUG ci_buildx\.[a-z]+: .+")
SEEDS = {
    "token": "hush-of-the-cluster-1",
    "password": "hush of/the registry+2",
    "secret": "hush-of-a-step-3\nhush-of-its-second-line",
    "argument": "hush-of-an-argument-4",
    "login": "hush-in-a-url-5",
    "variable": "hush-of-a-variable-6",
}


def run(*argv: str, env: dict[str, str] | None = None, cwd: Path = Path("/")) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    around = ProcessContext(env=env or {}, cwd=cwd, stdout=io.StringIO(), stderr=io.StringIO())
    code = main(argv, around)
    assert isinstance(around.stdout, io.StringIO)
    assert isinstance(around.stderr, io.StringIO)
    return code, around.stdout.getvalue(), around.stderr.getvalue()


GITHUB = {"GITHUB_ACTIONS": "true"}
GITLAB = {"GITLAB_CI": "true"}


@pytest.mark.parametrize(
    ("argv", "env", "on"),
    [
        (["version"], {}, False),
        (["version", "--debug"], {}, True),
        (["version", "-D"], {}, True),
        (["--debug", "version"], {}, True),
        (["-D", "--debug=true", "version"], {}, True),
        (["--debug", "version", "--debug=false"], {}, False),
        (["version"], {"KUBE_BUILDER_DEBUG": "true"}, True),
        (["version"], {"KUBE_BUILDER_DEBUG": "1"}, True),
        (["version"], {"KUBE_BUILDER_DEBUG": " "}, False),
        (["version"], {"KUBE_BUILDER_DEBUG": "false"}, False),
        (["version", "--debug=false"], {"KUBE_BUILDER_DEBUG": "true"}, False),
        (["version", "--debug"], {"KUBE_BUILDER_DEBUG": "false"}, True),
        (["version"], {**GITHUB, "RUNNER_DEBUG": "1"}, True),
        (["version"], {**GITHUB, "RUNNER_DEBUG": "0"}, False),
        (["version"], {"RUNNER_DEBUG": "1"}, False),
        (["version"], {**GITHUB, "RUNNER_DEBUG": "1", "KUBE_BUILDER_DEBUG": "no"}, False),
        (["version"], {**GITLAB, "CI_DEBUG_TRACE": "true"}, True),
        (["version"], {**GITLAB, "CI_DEBUG_TRACE": "false"}, False),
        (["version"], {"CI_DEBUG_TRACE": "true"}, False),
        (["version"], {**GITHUB, "CI_DEBUG_TRACE": "true"}, False),
    ],
)
def test_who_switches_it_on(argv: list[str], env: dict[str, str], on: bool) -> None:
    code, stdout, stderr = run(*argv, env=env)
    assert code == 0
    assert stdout.count("\n") == 1
    lines = stderr.splitlines()
    assert len(lines) == (2 if on else 0)
    assert all(LINE.fullmatch(line) for line in lines)
    if on:
        assert "ci_buildx.cli: kube-builder " in lines[0]
        assert " version, Python " in lines[0]
        assert "ci_buildx.cli: exit code 0 after " in lines[1]
    assert not debug.get_log("cli").is_on


@pytest.mark.parametrize(
    ("argv", "env", "source"),
    [(["--debug=maybe"], {}, "--debug"), ([], {"KUBE_BUILDER_DEBUG": "maybe"}, "KUBE_BUILDER_DEBUG")],
)
def test_neither_yes_nor_no(argv: list[str], env: dict[str, str], source: str) -> None:
    code, _, stderr = run("version", *argv, env=env)
    assert code == 2
    assert stderr == f"kube-builder: error: {source}: 'maybe' is neither true nor false; write true or false\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_it(verb: str, tmp_path: Path) -> None:
    """Without a cluster most of them end with an error; the log has begun before that, and says how they ended."""
    env = {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    code, _, stderr = run(*verb.split(), "--debug", env=env, cwd=tmp_path)
    lines = [line for line in stderr.splitlines() if LINE.fullmatch(line)]
    assert f" {verb}, Python " in lines[0]
    assert f"ci_buildx.cli: exit code {code} after " in lines[-1]


def test_an_option_takes_it_as_its_value(tmp_path: Path) -> None:
    """As in docker, the argument after an option is its value whatever it looks like."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    code, stdout, stderr = run("build", "--target", "--debug", "--print", "solve", ".", cwd=tmp_path)
    assert (code, "DEBUG" in stderr) == (0, False)
    assert '"target": "--debug"' in stdout


def test_rawjson_stays_json_on_its_stream(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with scripted(refused(403, "Forbidden", "not you")) as server:
        config = kubeconfig(tmp_path, server.port)
        for argv, env in (
            (["--progress", "rawjson"], {}),
            ([], {"KUBE_BUILDER_PROGRESS": "rawjson"}),
            ([], {"BUILDKIT_PROGRESS": "rawjson"}),
        ):
            argv = ["build", "--debug", *argv, "--kubeconfig", str(config), "."]
            code, _, stderr = run(*argv, env={"HOME": str(tmp_path), **env}, cwd=tmp_path)
            assert code == 1
            errors = ("ERROR: ", "note: ")
            found = [json.loads(line) for line in stderr.splitlines() if not line.startswith(errors)]
            messages = [one["debug"] for one in found if "debug" in one]
            assert {tuple(one) for one in messages} == {("time", "logger", "message")}
            assert any(one["logger"] == "ci_buildx.kube" for one in messages)
            assert any("vertexes" in one for one in found)


def test_lines_go_above_the_display_of_a_terminal(debug_log: DebugLog) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        shown = display.open_display(ProgressMode.TTY, stream, env={"TERM": "xterm"})
        try:
            debug.get_log("kube").debug("GET %s", "/x")
        finally:
            shown.close()
        drawn = os.read(leader, 65536).decode()
    os.close(leader)
    assert "DEBUG ci_buildx.kube: GET /x" in drawn
    assert "GET /x" not in debug_log.text
    debug.get_log("kube").debug("later")
    assert debug_log.of("kube") == ["later"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("::add-mask::x", ": :add-mask::x"),
        ("a\n::set-output name=x::y", "a ::set-output name=x::y"),
        ("a\r\n::stop-commands::y", "a ::stop-commands::y"),
        ("a\r::error::y", "a ::error::y"),
        ("a\u2028::error::y\x85::error::z", "a ::error::y ::error::z"),
        ("##[error]x", "# #[error]x"),
        ("\x1b]0;title\x07a\x1b[2Jb\x9b1mc\x00", "abc"),
        ("section_start:1:x\r\x1b[0Kgone", "section_start:1:x gone"),
        ("x" * 5000, "x" * end.LONGEST + "…"),
    ],
)
def test_hostile_text_is_one_line_that_nobody_obeys(text: str, written: str, debug_log: DebugLog) -> None:
    debug.get_log("session").debug("%s", text)
    line = debug_log.text.splitlines()[-1]
    assert LINE.fullmatch(line)
    assert debug_log.of("session")[-1].strip() == written.strip()
    assert not re.search(r"^\s*::|##\[", debug_log.text, re.MULTILINE)


def test_the_libraries_say_nothing(debug_log: DebugLog) -> None:
    logging.getLogger("urllib3.connectionpool").debug("GET /token?account=me")
    assert "account" not in debug_log.text


def test_nothing_is_formatted_while_it_is_off() -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("formatted")

        __repr__ = __str__

    log = debug.get_log("kube")
    assert not log.is_on
    log.debug("%s %r", Loud(), Loud())


def test_logging_is_not_imported_while_it_is_off(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    code = (
        "import io, sys; from pathlib import Path; from ci_buildx.cli.main import main; "
        "from ci_buildx.cli.process import ProcessContext; "
        "around = ProcessContext(env={}, cwd=Path(sys.argv[1]), stdout=io.StringIO(), stderr=sys.stderr); "
        "assert main(['build', *sys.argv[2:], '--print', 'solve', '.'], around) == 0; print('logging' in sys.modules)"
    )
    path = os.pathsep.join(sys.path)
    for flags, imported in ([], "False"), (["--debug"], "True"):
        done = subprocess.run(
            # Without the developers' folder of packages, whose import hook imports it.
            [sys.executable, "-S", "-c", code, str(tmp_path), *flags],
            env={"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == imported, done.stderr


def test_secrets_are_hidden_wherever_they_come_from(debug_log: DebugLog) -> None:
    log = debug.get_log("build")
    Secret(SEEDS["secret"])
    mention(SEEDS["argument"])
    for text in (SEEDS["secret"], SEEDS["argument"], "hush-of-its-second-line", "https://me:hunter22@example/x"):
        log.debug("%s and %r", text, text)
    assert "hush" not in debug_log.text
    assert "hunter22" not in debug_log.text
    assert debug_log.of("build")[1] == "*** and '***'"


def test_no_seeded_secret_is_in_the_log_of_a_build(tmp_path: Path) -> None:
    """A server that repeats what it was told, as some do in their errors."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    docker = tmp_path / ".docker"
    docker.mkdir()
    auth = {"auths": {"registry.example": {"username": "me", "password": SEEDS["password"]}}}
    (docker / "config.json").write_text(json.dumps(auth))
    echo = " ".join(SEEDS.values())
    authority = Authority()
    with scripted(refused(403, "Forbidden", echo), tls=authority.server()) as server:
        config = kubeconfig(tmp_path, server.port, authority.pem)
        code, _, stderr = run(
            *("build", "--debug", "--kubeconfig", str(config), "-t", "registry.example/a:1", "--push"),
            *("--secret", "id=step,env=STEP", "--build-arg", f"NPM_TOKEN={SEEDS['argument']}"),
            *("--build-context", f"other=https://me:{SEEDS['login']}@git.example/x.git", "."),
            env={"HOME": str(tmp_path), "STEP": SEEDS["secret"], "MY_TOKEN": SEEDS["variable"]},
            cwd=tmp_path,
        )
        assert f"Bearer {SEEDS['token']}" in server.requests[0]
    logged = "\n".join(line for line in stderr.splitlines() if LINE.fullmatch(line))
    assert code == 1
    for package in ("cli", "settings", "kube", "runtime", "progress"):
        assert f"DEBUG ci_buildx.{package}: " in logged, stderr
    assert " DEBUG ci_buildx.kube: GET /version: 403 after " in logged
    assert "notes: ('*** *** *** *** *** ***',)" in logged
    assert "hush" not in logged
    assert "build-args (--build-arg)" in logged
    assert "secrets (--secret)" in logged


def kubeconfig(folder: Path, port: int, authority: bytes = b"") -> Path:
    """A kubeconfig for a server on this machine, whose user has a token."""
    path = folder / "kubeconfig"
    user = {"name": "u", "user": {"token": SEEDS["token"]}}
    scheme, more = (
        ("https", {"certificate-authority-data": b64encode(authority).decode()}) if authority else ("http", {})
    )
    cluster = {"name": "c", "cluster": {"server": f"{scheme}://127.0.0.1:{port}", **more}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    text = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
    path.write_text(json.dumps(text))
    return path
