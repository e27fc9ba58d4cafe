"""The Action in a checkout full of traps: Node, Python, pip, venv and uv read and run nothing of it.

Everything is real but the packages: the Action's own files beside a lock of small wheels, which come from a
folder that the runner's settings name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from devcluster import toolchain
from tests.unit.ci.self_hosted import HOSTILE, Runner, change, make_runner
from tests.unit.planted import plant, read_sprung


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A GitHub runner with a copy of the Action and a stub in place of kube-builder."""
    return make_runner(tmp_path)


def test_nothing_of_the_workspace_is_read_or_run(runner: Runner) -> None:
    hostile = {name: value.format(w=runner.workspace) for name, value in HOSTILE.items()}
    told = runner.told(runner.start(**hostile))
    assert told["small"] == 42
    assert told["cwd"] == str(runner.workspace)
    assert not [folder for folder in told["path"] if str(runner.workspace) in folder]
    assert told["password"] == "hunter2"  # the product needs its inputs
    assert not told["site"]
    warm = runner.start(**hostile)
    assert runner.told(warm) == told
    assert warm.stdout.startswith("TOLD ")
    assert runner.told(runner.start("action/post.js", STATE_builder="x", **hostile)) == told
    assert read_sprung(runner.workspace) == []


def test_a_home_in_the_workspace_configures_nothing(runner: Runner) -> None:
    env = {"HOME": str(runner.workspace), "RUNNER_TOOL_CACHE": str(runner.workspace / "tools")}
    temporary = runner.folder / "temp"
    assert runner.told(runner.start(**env, RUNNER_TEMP=str(temporary)))["small"] == 42
    assert (temporary / "kube-builder").is_dir()
    assert read_sprung(runner.workspace) == []


def test_packages_go_to_no_folder_of_the_workspace_and_not_to_tmp(runner: Runner) -> None:
    env = {"HOME": str(runner.workspace), "RUNNER_TOOL_CACHE": "tools", "RUNNER_TEMP": f"{runner.workspace}/temp"}
    done = runner.start(**env)
    assert done.returncode == 2
    assert "has no folder outside of the workspace for its Python packages; set RUNNER_TOOL_CACHE to one" in done.stdout
    assert read_sprung(runner.workspace) == []


@pytest.mark.parametrize("python", ["./bin/python3", "bin/python3", "{w}/bin/python3", "{w}/.venv/bin/python3"])
def test_an_interpreter_of_the_workspace_is_refused(python: str, runner: Runner) -> None:
    done = runner.start(INPUT_PYTHON=python.format(w=runner.workspace))
    assert done.returncode == 2
    assert "does not run, or lies in the workspace" in done.stdout
    assert read_sprung(runner.workspace) == []


def test_a_link_to_the_workspace_is_refused(runner: Runner) -> None:
    (runner.folder / "outside").symlink_to(runner.workspace / "bin")
    assert runner.start(INPUT_PYTHON=str(runner.folder / "outside" / "python3")).returncode == 2
    assert runner.told(runner.start(PATH=f"{runner.folder}/outside:{runner.env()['PATH']}"))["small"] == 42
    assert read_sprung(runner.workspace) == []


@pytest.mark.parametrize("name", ["python3", "uv"])
def test_a_program_that_is_a_link_to_the_workspace_is_passed_over(name: str, runner: Runner) -> None:
    """As `npm link`, or a careless installation, puts it into a folder of the PATH."""
    folder = runner.folder / "linked"
    folder.mkdir()
    (folder / name).symlink_to(runner.workspace / "bin" / name)
    assert runner.told(runner.start(PATH=f"{folder}:{runner.env()['PATH']}"))["small"] == 42
    assert read_sprung(runner.workspace) == []


def test_an_interpreter_whose_library_lies_in_the_workspace_is_refused(runner: Runner) -> None:
    """A copied interpreter outside, whose settings lead into the workspace."""
    real = Path(sys.executable).resolve()
    home = runner.workspace / "home" / "bin"
    home.mkdir(parents=True)
    (home / "python3").symlink_to(real)
    (home.parent / "lib").symlink_to(Path(sys.base_prefix) / "lib")
    venv = runner.folder / "venv"
    subprocess.run([home / "python3", "-I", "-m", "venv", "--copies", "--without-pip", venv], check=True)
    (venv / "pyvenv.cfg").write_text(f"home = {home}\n")
    done = runner.start(INPUT_PYTHON=str(venv / "bin" / "python3"))
    assert done.returncode == 2
    assert "does not run, or lies in the workspace" in done.stdout


@pytest.mark.parametrize("index", ["file:{w}/index", "{w}/index", "./index", "~/index", "own={w}/index"])
def test_an_index_in_the_workspace_does_not_count(index: str, runner: Runner) -> None:
    done = runner.start(
        UV_INDEX=index.format(w=runner.workspace), PIP_INDEX_URL="file:/opt/index", UV_DEFAULT_INDEX="own"
    )
    assert runner.told(done)["small"] == 42
    assert "kube-builder: UV_INDEX leads into the workspace and does not count\n" in done.stdout
    assert "PIP_INDEX_URL" not in done.stdout
    assert "UV_DEFAULT_INDEX" not in done.stdout


def test_installers_get_neither_inputs_nor_tokens_and_run_elsewhere(runner: Runner) -> None:
    """A uv that is asked to install, fails, and gives way to pip."""
    runner.program("uv", "exit 1")
    (runner.folder / "bin" / "python3").unlink()
    runner.program("python3", f'exec {Path(sys.executable).resolve()} "$@"')
    secrets = {"KUBE_BUILDER_PASSWORD": "hunter2", "SOME_TOKEN": "hunter2", "ACTIONS_RUNTIME_TOKEN": "hunter2"}
    kept = {"UV_DEFAULT_INDEX": "https://u:p@index.example/simple", "HTTPS_PROXY": "http://proxy.example:3128"}
    kept |= {"SSL_CERT_FILE": "/etc/ssl/ca.pem", "NO_PROXY": "10.0.0.0/8,.example", "UV_INDEX_OWN_PASSWORD": "p"}
    # The interpreter behind the shim is the one that installs.
    runner.told(runner.start(**secrets, **kept, UV_CONFIG_FILE="uv.toml", PIP_CERT=f"{runner.workspace}/ca.pem"))
    written = [path.read_text() for path in runner.folder.glob("env-*")]
    assert len(written) == 2  # the shim, and uv
    for text in written:
        assert "hunter2" not in text
        assert str(runner.workspace) not in text
        for name, value in kept.items():
            assert f"\n{name}={value}\n" in f"\n{text}"
        assert "uv.toml" not in text
    assert (runner.folder / "cwd").read_text() == "/\n"


def test_a_checkout_that_is_installed_to_be_edited_is_not_run(runner: Runner) -> None:
    """After `pip install -e .`: the interpreter that an earlier step has prepared looks into the checkout."""
    venv = runner.folder / "venv"
    subprocess.run([Path(sys.executable).resolve(), "-I", "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "editable.pth").write_text(f"{runner.workspace}\n")
    line = f"import os; open({str(runner.workspace / 'sprung-line')!r}, 'w')\n"
    (site / "line.pth").write_text(line)
    assert runner.told(runner.start(INPUT_PYTHON=str(venv / "bin" / "python3")))["small"] == 42
    assert runner.told(runner.start(PATH=f"{venv}/bin:/usr/bin:/bin"))["small"] == 42
    assert read_sprung(runner.workspace) == []


def test_ignored_settings_are_named(runner: Runner) -> None:
    done = runner.start(PIP_CERT="ca.pem", UV_CONFIG_FILE="/etc/uv.toml")
    assert "kube-builder: PIP_CERT leads into the workspace and does not count\n" in done.stdout
    assert "UV_CONFIG_FILE" not in done.stdout


def test_the_runners_own_pip_configuration_counts(runner: Runner) -> None:
    place = runner.folder / "home" / ".config" / "pip"
    place.mkdir(parents=True)
    (place / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {runner.folder / 'wheels'}\n")
    assert runner.told(runner.start(PIP_NO_INDEX="", PIP_FIND_LINKS=""))["small"] == 42


def test_a_poisoned_cache_is_made_anew(runner: Runner) -> None:
    whole = runner.told(runner.start())
    exits = "import os; os._exit(7)\n"
    poisons: tuple[Callable[[Path], object], ...] = (
        lambda packages: (packages / "evil.pth").write_text(exits),
        lambda packages: (packages / "json.py").write_text(exits),
        lambda packages: plant(packages / "deep" / "er"),
        lambda packages: (packages / "link.py").symlink_to("/dev/null"),
        lambda packages: (packages.parent / "manifest.json").write_text("{}"),
        lambda packages: (packages.parent / "manifest.json").unlink(),
        lambda packages: change(packages / "small.py"),
        lambda packages: (packages / "small.py").unlink(),
        lambda packages: packages.rename(packages.parent / "moved").mkdir(exist_ok=True),
        lambda packages: packages.symlink_to(packages.rename(packages.parent / "moved")),
    )
    for poison in poisons:
        poison(runner.folder / "tools" / "kube-builder" / runner.packages.parent.name / "packages")
        done = runner.start()
        assert runner.told(done) == whole
        assert "is not what was installed there" in done.stdout
        assert [path.name for path in runner.packages.iterdir()] == ["small.py"]
        assert runner.start().stdout.startswith("TOLD ")
        assert len([*(runner.folder / "tools" / "kube-builder").iterdir()]) == 1


def test_a_cache_that_was_copied_is_used(runner: Runner) -> None:
    runner.told(runner.start())
    tools = runner.folder / "tools"
    shutil.copytree(tools, runner.folder / "copy")
    shutil.rmtree(tools)
    time.sleep(0.05)
    (runner.folder / "copy").rename(tools)
    assert runner.start().stdout.startswith("TOLD ")


def test_a_cache_that_was_copied_and_cannot_be_written_is_used(runner: Runner) -> None:
    runner.told(runner.start())
    tools = runner.folder / "tools"
    shutil.copytree(tools, runner.folder / "copy")
    shutil.rmtree(tools)
    (runner.folder / "copy").rename(tools)
    folders = [tools, *(path for path in tools.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    # Permissions do not stop root, who is stripped of that right.
    rightless: list[str | Path] = ["setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []
    command = [*rightless, toolchain.node(), runner.folder / "action-root" / "action" / "main.js"]
    try:
        done = subprocess.run(
            command, env=runner.env(), cwd=runner.workspace, stdout=subprocess.PIPE, text=True, timeout=120, check=False
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 0
    assert done.stdout.startswith("TOLD ")


@pytest.mark.parametrize("poison", ["", "evil.pth"])
def test_jobs_that_find_an_empty_or_poisoned_cache_at_once_all_run(poison: str, runner: Runner) -> None:
    whole = runner.told(runner.start())
    if poison:
        (runner.packages / poison).touch()
    else:
        shutil.rmtree(runner.folder / "tools")
    command = [toolchain.node(), runner.folder / "action-root" / "action" / "main.js"]
    jobs = [
        subprocess.Popen(command, env=runner.env(), cwd=runner.workspace, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for job in jobs:
        output = job.communicate(timeout=120)[0]
        assert job.returncode == 0, output
        assert json.loads(output.partition("TOLD ")[2]) == whole
    assert [path.name for path in runner.packages.iterdir()] == ["small.py"]
    assert runner.start().stdout.startswith("TOLD ")
    assert len([*(runner.folder / "tools" / "kube-builder").iterdir()]) == 1


POISON = "VALUE = 'poisoned'\n"
UV = Path(find_uv_bin()).resolve()


@pytest.fixture
def log(runner: Runner) -> Path:
    """The verbs of uv and its exit codes: pip would hide that uv had failed."""
    log = runner.folder / "uv-log"
    runner.program("uv", f'{UV} "$@"; code=$?; echo "$1 $code" >> {log}; exit $code\n')
    return log


def offer(runner: Runner) -> dict[str, str]:
    """The runner's own settings for uv: the folder with the wheel."""
    return {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(runner.folder / "wheels")}


def poison_cache(runner: Runner, cache: Path) -> None:
    """Fill uv's ``cache`` with the wheel, whose module then has another content."""
    assert read_value(runner, cache) == "VALUE = 42\n"
    modules = [*cache.rglob("small.py")]
    assert modules
    for module in modules:
        module.chmod(0o644)
        module.write_text(POISON)


def read_value(runner: Runner, cache: Path) -> str:
    """Install with uv as a job without the Action would, and return the module's content."""
    target = Path(tempfile.mkdtemp(dir=runner.folder))
    options: list[str | Path] = [
        "--quiet",
        "--target",
        target,
        "--python",
        Path(sys.executable).resolve(),
        "--cache-dir",
        cache,
    ]
    options += ["--link-mode", "copy"]
    command = [UV, "pip", "install", *options, "--require-hashes", "--requirement", runner.lock]
    subprocess.run(command, env={**os.environ, **offer(runner)}, cwd=runner.folder, check=True)
    return (target / "small.py").read_text()


def test_a_real_uv_obeys_nothing_of_the_workspace(runner: Runner, log: Path) -> None:
    hostile = {name: value.format(w=runner.workspace) for name, value in HOSTILE.items() if name != "UV_FIND_LINKS"}
    told = runner.told(runner.start(**hostile, **offer(runner), UV_TARGET=f"{runner.workspace}/sprung-target"))
    assert told["small"] == 42
    assert log.read_text() == "pip 0\n"
    assert read_sprung(runner.workspace) == []


def test_a_poisoned_cache_is_not_used(runner: Runner, log: Path) -> None:
    """uv trusts what its cache has unpacked: hashes do not help, as the second installation shows."""
    inside, own = runner.workspace / "evil", runner.folder / "home" / ".cache" / "uv"
    for cache in (inside, own):
        poison_cache(runner, cache)
        assert read_value(runner, cache) == POISON
    for name in ("uv.toml", "pyproject.toml"):
        text = 'cache-dir = "./evil"\n'
        (runner.workspace / name).write_text(text if name == "uv.toml" else f"[tool.uv]\n{text}")
    settings = runner.folder / "home" / ".config" / "uv"
    settings.mkdir(parents=True)
    (settings / "uv.toml").write_text(f'cache-dir = "{own}"\n')
    told = runner.told(runner.start(**offer(runner), UV_CACHE_DIR=str(inside)))
    assert told["small"] == 42
    assert log.read_text() == "pip 0\n"


def test_a_wheel_with_another_hash_is_refused_by_uv_and_by_pip(runner: Runner, log: Path) -> None:
    runner.lock.write_text("small==1.0 --hash=sha256:" + "0" * 64 + "\n")
    done = runner.start(**offer(runner))
    assert done.returncode == 2
    assert "cannot install its Python packages" in done.stdout
    assert log.read_text().splitlines()[0] != "pip 0"
    assert not [*runner.folder.glob("tools/kube-builder/*")]
