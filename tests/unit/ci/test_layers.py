"""The second layer of packages: installed when it is first imported, and as safe as the first one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.release_bundle import split_lock
from devcluster import toolchain
from tests.unit.ci.closure import list_closure
from tests.unit.ci.self_hosted import HOSTILE, ROOT, Runner, change, make_runner, read_told
from tests.unit.planted import plant, read_sprung

LATER = frozenset(json.loads((ROOT / "action" / "later.json").read_text()))
IMPORTED = ("kubernetes", "rich", "tzdata")
"""Packages of the second layer that start.py reacts to."""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A GitHub runner with a copy of the Action and a stub in place of kube-builder."""
    return make_runner(tmp_path)


def test_the_second_layer_is_installed_when_it_is_first_imported(runner: Runner) -> None:
    done = runner.start()
    assert runner.told(done)["more"] == []
    assert "second layer" not in done.stdout + done.stderr
    assert [path.name for path in runner.packages.iterdir()] == ["small.py"]
    assert len([*(runner.folder / "tools" / "kube-builder").iterdir()]) == 1

    done = runner.start(IMPORTS="kubernetes tzdata")
    assert runner.told(done)["more"] == [42, 42]
    place = runner.later.parent
    line = f"kubernetes is needed: installing the second layer of Python packages into {place}, once for this runner"
    assert done.stderr == f"kube-builder: {line}\n"
    assert sorted(path.name for path in runner.later.iterdir()) == ["kubernetes.py", "tzdata.py"]

    done = runner.start(IMPORTS="tzdata")
    assert runner.told(done)["more"] == [42]
    assert done.stderr == ""


def test_a_poisoned_second_layer_is_made_again(runner: Runner) -> None:
    runner.told(runner.start(IMPORTS="kubernetes"))
    for poison in (
        lambda: (runner.later / "evil.pth").write_text("import os; os._exit(7)\n"),
        lambda: plant(runner.later / "deep"),
        lambda: change(runner.later / "kubernetes.py"),
        lambda: (runner.later.parent / "manifest.json").unlink(),
    ):
        poison()
        done = runner.start(IMPORTS="kubernetes")
        assert runner.told(done)["more"] == [42]
        assert "is not what was installed there: its packages are installed again" in done.stderr
        assert sorted(path.name for path in runner.later.iterdir()) == ["kubernetes.py", "tzdata.py"]


def test_nothing_of_the_workspace_is_read_or_run_for_it(runner: Runner) -> None:
    hostile = {name: value.format(w=runner.workspace) for name, value in HOSTILE.items()}
    hostile["NODE_OPTIONS"] = f"--require {runner.workspace}/node_modules/fs"
    first = {name: value for name, value in hostile.items() if name != "NODE_OPTIONS"}
    runner.told(runner.start(**first))
    script = runner.folder / "action-root" / "action" / "start.py"
    done = subprocess.run(
        [Path(sys.executable).resolve(), "-I", "-S", script, runner.packages, toolchain.node(), "github"],
        env={**runner.env(), **hostile, "IMPORTS": "kubernetes"},
        cwd=runner.workspace,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert runner.told(done)["more"] == [42]
    assert not [folder for folder in runner.told(done)["path"] if str(runner.workspace) in folder]
    assert read_sprung(runner.workspace) == []


def test_its_installers_get_neither_inputs_nor_tokens(runner: Runner) -> None:
    runner.program("uv", "exit 1")
    runner.told(runner.start())
    for path in runner.folder.glob("env-*"):
        path.unlink()
    runner.told(runner.start(IMPORTS="kubernetes", KUBE_BUILDER_PASSWORD="hunter2"))
    written = [path.read_text() for path in runner.folder.glob("env-*")]
    assert len(written) == 1
    assert not [text for text in written if "hunter2" in text or str(runner.workspace) in text]
    assert (runner.folder / "cwd").read_text() == "/\n"


def test_a_wheel_with_another_hash_is_refused(runner: Runner) -> None:
    lock = runner.lock.read_text()
    (wrong,) = split_lock(lock, frozenset(("kubernetes",)))[1]
    runner.lock.write_text(lock.replace(wrong, f"kubernetes==1.0 --hash=sha256:{'0' * 64}\n"))
    runner.told(runner.start())
    done = runner.start(IMPORTS="kubernetes")
    assert done.returncode == 1
    assert "cannot load kubernetes: kube-builder cannot install its Python packages with " in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*runner.folder.glob("tools/kube-builder/later-*")]


@pytest.mark.parametrize("poison", [False, True])
def test_jobs_that_need_it_at_once_all_run(poison: bool, runner: Runner) -> None:
    runner.told(runner.start(IMPORTS="kubernetes" if poison else ""))
    if poison:
        (runner.later / "evil.pth").touch()
    command = [toolchain.node(), runner.folder / "action-root" / "action" / "main.js"]
    env = {**runner.env(), "IMPORTS": "kubernetes"}
    jobs = [
        subprocess.Popen(command, env=env, cwd=runner.workspace, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for job in jobs:
        output = job.communicate(timeout=120)[0]
        assert job.returncode == 0, output
        assert read_told(output)["more"] == [42]
    assert sorted(path.name for path in runner.later.iterdir()) == ["kubernetes.py", "tzdata.py"]
    assert runner.start(IMPORTS="kubernetes").stderr == ""
    assert len([*(runner.folder / "tools" / "kube-builder").iterdir()]) == 2


def test_a_killed_build_takes_its_installation_with_it(runner: Runner) -> None:
    runner.told(runner.start())
    runner.program("uv", f"echo $$ > {runner.folder}/began; exec sleep 120")
    script = runner.folder / "action-root" / "action" / "start.py"
    env = {**runner.env(), "IMPORTS": "kubernetes"}
    job = subprocess.Popen(
        [Path(sys.executable).resolve(), "-I", "-S", script, runner.packages, toolchain.node(), "github"],
        env=env,
        cwd=runner.workspace,
        stderr=subprocess.DEVNULL,
    )
    began = runner.folder / "began"
    wait_for(lambda: began.exists() and bool(began.read_text()))
    job.kill()
    job.wait()
    installer = int(began.read_text())
    wait_for(lambda: not is_alive(installer))
    wait_for(lambda: not [*runner.folder.glob("tools/kube-builder/later-*")])


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].startswith(" Z")


def test_the_layers_are_what_each_package_requires() -> None:
    """The first one is whole without the second; what only the second one needs is in it."""
    lock = (ROOT / "requirements.lock").read_text()
    first, second = ({entry.partition("==")[0] for entry in part} for part in split_lock(lock, LATER))
    assert second == LATER
    assert list_closure("grpcio", "requests", "pyyaml", "cryptography", "tomli-w") - {"pycparser"} == first
    assert list_closure(*IMPORTED) - first | {"pycparser"} == LATER


def test_the_action_splits_the_lock_as_the_bundle_does() -> None:
    code = "const lock = require('./action/lock'); console.log(JSON.stringify([false, true].map(lock.readLayer)))"
    done = subprocess.run([toolchain.node(), "-e", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [*split_lock((ROOT / "requirements.lock").read_text(), LATER)]


def test_start_reacts_to_what_the_product_imports() -> None:
    text = (ROOT / "action" / "start.py").read_text()
    assert f"_LATER = {IMPORTED!r}".replace("'", '"') in text
    assert set(IMPORTED) <= LATER
