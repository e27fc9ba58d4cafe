"""The command starts in a checkout full of files that look like Python's, and imports none of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from ci_buildx import __version__
from ci_buildx.launch import clean_path
from tests.unit.planted import plant, read_sprung

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A hostile checkout: modules that record that they were imported."""
    folder = tmp_path / "checkout"
    plant(folder)
    plant(folder / "src")
    return folder


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The console script as pip writes it."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["kube-builder"]
    module, function = entry.split(":")
    path = tmp_path / "bin" / "kube-builder"
    path.parent.mkdir()
    text = f"import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def start(command: list[str], cwd: Path, **env: str) -> str:
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | env
    done = subprocess.run(command, cwd=cwd, env=around, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("pythonpath", ["", "src", ".", "{checkout}/src", "{checkout}/src:", "/nowhere:src"])
def test_the_installed_command_imports_nothing_of_the_checkout(pythonpath: str, script: Path, checkout: Path) -> None:
    # What the interpreter itself imports, before any program begins, is beyond the program's reach.
    shown = start([sys.executable, "-c", "import sys; print(*sys.modules)"], checkout.parent)
    for name in {"sitecustomize", "usercustomize", "nt", *(module.partition(".")[0] for module in shown.split())}:
        for folder in (checkout, checkout / "src"):
            (folder / f"{name}.py").unlink(missing_ok=True)
            shutil.rmtree(folder / name, ignore_errors=True)
    env = {"PYTHONPATH": pythonpath.format(checkout=checkout)} if pythonpath else {}
    named = {"GITHUB_WORKSPACE": str(checkout)}
    assert start([str(script), "--version"], checkout, **env, **named) == f"{__version__}\n"
    assert "--push" in start([str(script), "build", "--help"], checkout, **env, **named)
    assert read_sprung(checkout) == []


def test_the_module_imports_nothing_of_the_working_directory(checkout: Path) -> None:
    assert start([sys.executable, "-m", "ci_buildx", "--version"], checkout) == f"{__version__}\n"
    assert "--push" in start([sys.executable, "-m", "ci_buildx", "build", "--help"], checkout)
    assert read_sprung(checkout) == []


def test_an_isolated_interpreter_runs_not_even_a_sitecustomize(checkout: Path) -> None:
    command = [sys.executable, "-I", "-m", "ci_buildx", "--version"]
    assert start(command, checkout, PYTHONPATH=str(checkout / "src")) == f"{__version__}\n"
    assert read_sprung(checkout) == []


def test_the_runner_images_command_imports_nothing_of_the_checkout(checkout: Path, tmp_path: Path) -> None:
    """The script of gitlab-template/Containerfile, written by its own command, with this environment's packages."""
    text = (ROOT / "gitlab-template" / "Containerfile").read_text()
    (command,) = re.findall(r"printf '%s\\n' .*?(?= > /opt/runner/bin/kube-builder)", text, re.DOTALL)
    command = command.replace("\\\n", "").replace("$(command -v python3)", sys.executable)
    script = tmp_path / "kube-builder"
    script.write_text(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    script.write_text(script.read_text().replace("/opt/runner", str(ROOT)))
    script.chmod(0o755)
    assert script.read_text().startswith(f"#!{sys.executable} -IS\n")
    for pythonpath in ("", "src", str(checkout / "src")):
        assert start([str(script), "--version"], checkout, PYTHONPATH=pythonpath) == f"{__version__}\n"
        assert "--push" in start([str(script), "build", "--help"], checkout, PYTHONPATH=pythonpath)
    assert read_sprung(checkout) == []


@pytest.mark.parametrize("code", ["main.run()", "print(process.write_crash_report(ValueError('why')))"])
def test_no_program_of_the_checkout_tells_about_the_system(code: str, checkout: Path, tmp_path: Path) -> None:
    """With the debug log, and in a report of a crash: Python's own ``platform.platform`` runs ``uname``."""
    imports = f"import sys; sys.path.append({str(ROOT)!r}); from ci_buildx.cli import main, process; {code}"
    command = [sys.executable, "-I", "-c", imports, "version", "--debug"]
    env = {"PATH": f".:bin:{checkout}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report, *_) = [path.read_text() for path in tmp_path.glob("kube-builder-crash-*")] or [done.stderr]
    assert f"{os.uname().sysname}-{os.uname().release}-{os.uname().machine}\n" in report
    assert read_sprung(checkout) == []


def test_folders_of_pythonpath_outside_of_the_checkout_stay(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    theirs, library = str(tmp_path / "theirs"), "/usr/lib/python3"
    path = [str(checkout), theirs, str(checkout / "src"), library]
    env = {"PYTHONPATH": f"{theirs}:src", "GITHUB_WORKSPACE": str(checkout)}
    clean_path(path, env)
    assert path == [theirs, library, str(ROOT)]


def test_the_standard_library_stays_for_who_works_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    library = str(Path(os.__file__).parent)
    monkeypatch.chdir(library)
    path = [library, f"{library}/lib-dynload"]
    clean_path(path, {})
    assert path == [library, f"{library}/lib-dynload"]


def test_an_environment_in_the_checkout_stays(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    site = str(checkout / ".venv" / "lib" / "python3" / "site-packages")
    path = [str(checkout), str(checkout / "src"), site]
    clean_path(path, {"PYTHONPATH": f"src:{site}", "GITHUB_WORKSPACE": str(checkout)})
    assert path == [site, str(ROOT)]


def test_a_path_without_the_checkout_is_left_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    path = ["/usr/bin", "/usr/lib/python3"]
    clean_path(path, {})
    assert path == ["/usr/bin", "/usr/lib/python3"]


def test_ctrl_c_before_the_command_owns_its_signals_ends_it_without_a_traceback() -> None:
    strike = "launch.clean_path = lambda *_: signal.raise_signal(signal.SIGINT)"
    code = f"import signal; from ci_buildx import launch; {strike}; launch.run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_what_a_shell_has_ignored_for_a_job_in_the_background_does_not_end_the_start() -> None:
    strike = "launch.clean_path = lambda *_: signal.raise_signal(signal.SIGINT)"
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    code = f"import signal; from ci_buildx import launch; {ignored}; {strike}; launch.run()"
    assert start([sys.executable, "-c", code, "--version"], ROOT) == f"{__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_the_context_is_read_has_its_code_and_leaves_no_file(
    number: signal.Signals, script: Path, tmp_path: Path
) -> None:
    """Before the build has begun, a folder of its own holds what comes on standard input."""
    cluster = "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: a, user: {token: x}}]"
    named = "current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}]"
    (tmp_path / "config").write_text(f"{{apiVersion: v1, kind: Config, {named}, {cluster}}}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = os.environ | {"TMPDIR": str(scratch), "XDG_RUNTIME_DIR": "", "KUBECONFIG": str(tmp_path / "config")}
    with subprocess.Popen(
        [script, "build", "-"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"# A Dockerfile that goes on.\n" * 100)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(scratch.glob("kube-builder-tmp-*/empty")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(scratch.glob("kube-builder-tmp-*/empty"))
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read().decode() == f"kube-builder: interrupted by {number.name}\n"
    assert list(scratch.iterdir()) == []
