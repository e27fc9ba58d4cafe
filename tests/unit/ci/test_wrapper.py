"""The Action's JavaScript: which Python it takes, what it says when there is none, what it forwards.

The interpreter is a script that answers as Python, pip and venv do and writes down what it was asked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci_buildx import __version__
from dev.release_bundle import split_lock
from devcluster import toolchain

ACTION = Path(__file__).parents[3] / "action"
PYTHON = """\
#!/bin/sh
printf '%s\\n' "$*" >> {log}
case "$*" in
  *version_info*) printf '%s\\n' "$0" "$0" /usr {version} ;;
  *"run_pip.py --find") {pip} ;;
  "-I -S -m venv"*) {venv}; for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
  *install*) {install} ;;
  *start.py*) echo "PYTHONPATH is $PYTHONPATH"; {start} ;;
esac
"""
UV = """\
#!/bin/sh
printf 'uv %s\\n' "$*" >> {log}
{install}
"""
PIPS = min(3, len(os.sched_getaffinity(0)))
"""pip processes at once."""
OPTIONS = {"--target", "--require-hashes", "--only-binary", ":all:", "--no-deps"}
SLEEP = (
    "trap 'echo got INT; kill -9 $!; exit 130' INT; trap 'echo got TERM; kill -9 $!; exit 143' TERM; "
    "sleep 120 > /dev/null 2>&1 & echo ready; wait"
)
"""A softer signal gets lost where the shell's child is not ``sleep`` yet, but still has the shell's own traps."""


@dataclass
class Runner:
    """A machine with nothing on its PATH but a shell's tools and the interpreters that a test adds."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def add(self, name: str, version: str = "3 12", **parts: str) -> Path:
        """An interpreter; ``parts`` are the shell commands behind its answers."""
        path = self.folder / "bin" / name
        answers = {"pip": "true", "venv": "true", "install": "true", "start": "true", **parts}
        path.write_text(PYTHON.format(version=version, log=self.log, **answers))
        path.chmod(0o755)
        return path

    def add_uv(self, **parts: str) -> None:
        """A uv."""
        path = self.folder / "bin" / "uv"
        path.write_text(UV.format(log=self.log, **{"install": "true", **parts}))
        path.chmod(0o755)

    def popen(self, script: str = "main.js", **env: str) -> subprocess.Popen[str]:
        command = [toolchain.node(), ACTION / script]
        around = {**self.env, **env}
        process = subprocess.Popen(
            command,
            env=around,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder / "workspace",
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Leave no process behind, also where a test has failed."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def run(self, script: str = "main.js", **env: str) -> tuple[int, str]:
        process = self.popen(script, **env)
        output = process.communicate(timeout=60)[0]
        return process.returncode, output

    def asked(self) -> list[str]:
        """Everything that interpreters were asked, the question for the version left out; forgets it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if "version_info" not in line and "compile.py" not in line]

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def environments(self) -> list[Path]:
        return list((self.folder / "tools" / "kube-builder").glob("*"))


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """A GitHub runner whose PATH has only what the wrapper needs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "workspace").mkdir()
    for tool in ("cp", "mkdir", "sleep"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")
    env = {"PATH": str(tmp_path / "bin"), "RUNNER_TOOL_CACHE": str(tmp_path / "tools")}
    made = Runner(tmp_path, env)
    yield made
    made.end()


def test_cold_start_installs_from_the_lock_with_hashes_and_wheels_only(runner: Runner) -> None:
    runner.add("python3")
    code, output = runner.run()
    assert code == 0
    assert output.startswith("kube-builder: installing its Python packages into ")
    asked, *installs, start = runner.asked()
    assert asked == f"-I -S {ACTION / 'run_pip.py'} --find"
    assert len(installs) == PIPS  # at once, each with its part of the packages
    for install in installs:
        assert install.startswith(f"-I -S {ACTION / 'run_pip.py'} install ")
        assert {*OPTIONS, "--no-compile", "--no-cache-dir", "--few-platforms"} <= set(install.split())
    (environment,) = runner.environments()
    assert start == f"-I -S {ACTION / 'start.py'} {environment}/packages {toolchain.node()} github"


def test_the_parts_are_the_locks_first_layer(runner: Runner) -> None:
    runner.add("python3", install=f'for list; do :; done; cp "$list" {runner.folder}/list-$$')
    assert runner.run()[0] == 0
    parts = [path.read_text() for path in runner.folder.glob("list-*")]
    assert len(parts) == PIPS
    later = frozenset(json.loads((ACTION / "later.json").read_text()))
    first, _ = split_lock((ACTION.parent / "requirements.lock").read_text(), later)
    assert sorted(entry for part in parts for entry in split_lock(part, later)[0]) == first
    assert all("--hash=sha256:" in entry for entry in first)
    names = [{entry.partition("==")[0] for entry in split_lock(part, later)[0]} for part in parts]
    assert PIPS == 1 or not any({"cryptography", "grpcio"} <= part for part in names)  # more than half of all bytes


def test_uv_is_used_where_there_is_one(runner: Runner) -> None:
    runner.add("python3")
    runner.add_uv()
    assert runner.run()[0] == 0
    install, start = runner.asked()
    assert install.startswith("uv pip install --no-cache --python ")
    assert install.split()[5].endswith("/bare/bin/python")
    assert set(install.split()) >= OPTIONS
    assert start.endswith(" github")


def test_a_uv_that_fails_gives_way_to_pip(runner: Runner) -> None:
    runner.add("python3")
    runner.add_uv(install="exit 2")
    assert runner.run()[0] == 0
    assert any("run_pip.py install " in line for line in runner.asked())


def test_the_environments_folder_tells_the_version(runner: Runner) -> None:
    runner.add("python3")
    runner.run()
    assert [path.name.rpartition("-")[0] for path in runner.environments()] == [__version__]


def test_warm_start_only_starts(runner: Runner) -> None:
    runner.add("python3")
    runner.run()
    runner.asked()
    assert runner.run() == (0, "PYTHONPATH is \n")
    assert len(runner.asked()) == 1


def test_the_second_start_compiles(runner: Runner) -> None:
    """The first one has no time for it, and on most runners there is no second one."""
    runner.add("python3")
    for expected in (0, 1, 0):
        assert runner.run()[0] == 0
        lines = runner.log.read_text().splitlines()
        assert sum("compile.py" in line for line in lines) == expected, lines
        runner.asked()
    assert len(runner.environments()) == 1


def test_setup_puts_the_command_on_the_path_of_later_steps(runner: Runner) -> None:
    runner.add("python3", start='echo "ran $*"')
    (runner.folder / "it's temp").mkdir()
    files = {name: runner.folder / name for name in ("GITHUB_PATH", "GITHUB_STATE")}
    env = {**{name: str(path) for name, path in files.items()}, "RUNNER_TEMP": str(runner.folder / "it's temp")}
    assert runner.run("main.js", **env)[0] == 0
    assert not files["GITHUB_PATH"].exists()
    assert runner.run("../setup/main.js", **env)[0] == 0
    folder = Path(files["GITHUB_PATH"].read_text().removesuffix("\n"))
    assert [path.name for path in folder.iterdir()] == ["kube-builder"]
    (environment,) = runner.environments()
    started = subprocess.run([folder / "kube-builder", "ls", "a b"], capture_output=True, text=True, check=True).stdout
    ran = f"ran -I -S {ACTION / 'start.py'} {environment}/packages {toolchain.node()} ls a b\n"
    assert started.endswith(ran)

    state = files["GITHUB_STATE"].read_text()
    assert state == f"launcher={folder}\n"
    assert runner.run("../setup/post.js", STATE_launcher=str(folder))[0] == 0
    assert not folder.exists()


def test_a_failed_setup_puts_nothing_on_the_path(runner: Runner) -> None:
    runner.add("python3", start="exit 2")
    files = {name: str(runner.folder / name) for name in ("GITHUB_PATH", "GITHUB_STATE")}
    assert runner.run("../setup/main.js", **files, RUNNER_TEMP=str(runner.folder))[0] == 2
    assert not Path(files["GITHUB_PATH"]).exists()


def test_another_interpreter_has_another_environment(runner: Runner) -> None:
    runner.add("python3")
    runner.run()
    runner.run(INPUT_PYTHON=str(runner.add("other", "3 13")))
    assert len(runner.environments()) == 2


def test_post_passes_its_flag_and_needs_the_state(runner: Runner) -> None:
    runner.add("python3")
    assert runner.run("post.js") == (0, "")
    assert runner.asked() == []
    assert runner.run("post.js", STATE_builder="x")[0] == 0
    assert runner.asked()[-1].endswith(f"/packages {toolchain.node()} github --post")


def test_an_old_python3_gives_way_to_a_newer_one(runner: Runner) -> None:
    runner.add("python3", "3 9")
    runner.add("python3.12")
    assert runner.run()[0] == 0


def test_no_python(runner: Runner) -> None:
    code, output = runner.run()
    assert code == 2
    assert output == (
        "::error title=kube-builder::kube-builder needs Python 3.11 or newer: there is none on the PATH "
        "outside of the workspace; add actions/setup-python before this step, or name one with the input python\n"
    )


def test_old_pythons_are_named(runner: Runner) -> None:
    runner.add("python3", "3 9")
    runner.add("python", "2 7")
    assert "3.11 or newer: python3 is 3.9, python is 2.7;" in runner.run()[1]


def test_the_input_alone_counts(runner: Runner) -> None:
    runner.add("python3")
    code, output = runner.run(INPUT_PYTHON="pypy99")
    assert code == 2
    assert "pypy99 does not run" in output


def test_without_pip_the_environment_gets_its_own(runner: Runner) -> None:
    runner.add("python3", pip="exit 1")
    assert runner.run()[0] == 0
    _asked, venv, *installs, _ = runner.asked()
    assert venv.startswith("-I -S -m venv ")
    assert len(installs) == PIPS
    assert all(install.startswith("-I -m pip install ") for install in installs)


def test_without_pip_and_ensurepip_the_fix_is_told(runner: Runner) -> None:
    """Debian's python3 alone."""
    runner.add("python3", pip="exit 1", venv="exit 1")
    code, output = runner.run()
    assert code == 2
    assert output.splitlines()[-1].endswith(
        "install one (on Debian and Ubuntu: apt-get install python3-venv), or add actions/setup-python before this step"
    )
    assert runner.environments() == []


def test_what_pip_says_is_told(runner: Runner) -> None:
    failing = "echo 'ERROR: No matching distribution found for grpcio'; echo '[notice] a new release of pip'; exit 1"
    runner.add("python3", install=failing)
    code, output = runner.run()
    assert code == 2
    assert output.endswith("python3: ERROR: No matching distribution found for grpcio\n")
    assert runner.environments() == []


def test_settings_of_the_users_pip_do_not_lead_elsewhere(runner: Runner) -> None:
    runner.add("python3", install='test "$PIP_USER" = 0 && test -z "$PIP_TARGET" && test "$PIP_INDEX_URL" = kept')
    assert runner.run(PIP_USER="1", PIP_TARGET="/elsewhere", PIP_INDEX_URL="kept")[0] == 0


def test_two_jobs_of_one_runner_install_at_once(runner: Runner) -> None:
    runner.add("python3", install="sleep 0.2")
    processes = [runner.popen() for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert len(runner.environments()) == 1


def test_the_exit_code_is_the_products(runner: Runner) -> None:
    runner.add("python3", start="exit 7")
    assert runner.run()[0] == 7


def test_the_users_pythonpath_is_still_there_for_what_we_start(runner: Runner) -> None:
    runner.add("python3")
    assert "PYTHONPATH is /home/user/lib\n" in runner.run(PYTHONPATH="/home/user/lib")[1]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")])
def test_signals_reach_the_product(number: signal.Signals, name: str, runner: Runner) -> None:
    runner.add("python3", start=SLEEP)
    process = runner.popen()
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        pass
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == f"got {name}\n"
    assert process.returncode == 128 + number


def test_what_a_killed_installation_left_goes_with_a_later_start(runner: Runner) -> None:
    """It holds no start up, either; an installation may be under way in what is young."""
    runner.add("python3")
    runner.run()
    (environment,) = runner.environments()
    names = [f"{environment.name}.draft-{name}" for name in ("aB3xY9", "aB3xY9.rejected", "zzzzzz", "ours", "aB3xY8")]
    left, rejected, young, other, linked = (environment.with_name(name) for name in names)
    for path in (left, rejected, young, other):
        (path / "packages").mkdir(parents=True)
    linked.symlink_to(other)
    for path in (left, rejected, other):
        os.utime(path, (time.time() - 90_000,) * 2)
    os.utime(linked, (time.time() - 90_000,) * 2, follow_symlinks=False)
    code, _ = runner.run()
    assert code == 0
    assert sorted(runner.environments()) == sorted((environment, young, other))
    assert (other / "packages").is_dir()


def test_a_signal_ends_an_installation_and_leaves_no_draft(runner: Runner, tmp_path: Path) -> None:
    runner.add("python3", install=f"{SLEEP} > {tmp_path / 'begun'}")
    process = runner.popen()
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert runner.environments() == []
