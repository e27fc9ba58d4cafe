"""A self-hosted GitHub runner in a folder: the Action's own files beside a lock of three small wheels.

Everything is real but the packages, which come from a folder that the runner's settings name, and the product, which
only reports what it finds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import toolchain
from tests.unit.planted import plant

ROOT = Path(__file__).parents[3]
PRODUCT = """\
import json, os, subprocess, sys
from ci_buildx.errors import KubeBuilderError
def run():
    import small
    try:
        more = [__import__(name).VALUE for name in os.environ.get("IMPORTS", "").split()]
    except KubeBuilderError as error:
        sys.exit(str(error))
    told = {"path": sys.path, "small": small.VALUE, "cwd": os.getcwd(), "password": os.environ.get("INPUT_PASSWORD")}
    print("TOLD", json.dumps({**told, "site": "site" in sys.modules, "more": more}))
"""
TELL = "env > $(mktemp {folder}/env-XXXXXX); pwd > {folder}/cwd; "
"""Before a program of the runner's begins, it writes down what it was given."""


@dataclass
class Runner:
    """A self-hosted runner: its tool cache, the Action, a checkout with traps, and Python on the PATH."""

    folder: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "work" / "checkout"

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("tools/kube-builder/[0-9]*/packages")
        return found

    @property
    def later(self) -> Path:
        (found,) = self.folder.glob("tools/kube-builder/later-*/packages")
        return found

    @property
    def lock(self) -> Path:
        return self.folder / "action-root" / "requirements.lock"

    def start(self, script: str = "action/main.js", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [toolchain.node(), self.folder / "action-root" / script],
            env={**self.env(), **env},
            cwd=self.workspace,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def env(self) -> dict[str, str]:
        workspace = str(self.workspace)
        return {
            # As a careless job leaves it: relative folders, and those of the checkout.
            "PATH": f".:bin:{workspace}/bin:{workspace}/.venv/bin:{self.folder}/bin::/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "RUNNER_TOOL_CACHE": str(self.folder / "tools"),
            "GITHUB_WORKSPACE": workspace,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder / "wheels"),
            "INPUT_PASSWORD": "hunter2",
            "INPUT_KUBECONFIG": "secret",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "hunter2",
            "GITHUB_TOKEN": "hunter2",
        }

    def told(self, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        assert done.returncode == 0, done.stdout + done.stderr
        return read_told(done.stdout)

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text("#!/bin/sh\n" + TELL.format(folder=self.folder) + text)
        path.chmod(0o755)


def read_told(output: str) -> dict[str, Any]:
    """What the product has found."""
    told: dict[str, Any] = json.loads(output.partition("TOLD ")[2])
    return told


def make_runner(folder: Path) -> Runner:
    """A GitHub runner with a copy of the Action and a stub in place of kube-builder."""
    made = Runner(folder)
    action = folder / "action-root"
    shutil.copytree(ROOT / "action", action / "action", ignore=shutil.ignore_patterns("__pycache__"))
    (action / "ci_buildx" / "cli").mkdir(parents=True)
    (action / "ci_buildx" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (action / "ci_buildx" / "cli" / "__init__.py").touch()
    (action / "ci_buildx" / "cli" / "main.py").write_text(PRODUCT)
    (action / "ci_buildx" / "errors.py").symlink_to(ROOT / "ci_buildx" / "errors.py")
    (action / "ci_buildx" / "model").symlink_to(ROOT / "ci_buildx" / "model")
    (folder / "wheels").mkdir()
    hashes = {name: make_wheel(folder / "wheels", name) for name in ("small", "kubernetes", "tzdata")}
    lock = "".join(f"{name}==1.0 \\\n    --hash=sha256:{digest}\n" for name, digest in hashes.items())
    (action / "requirements.lock").write_text(lock)
    (folder / "bin").mkdir()
    real = Path(sys.executable).resolve()
    (folder / "bin" / "python3").symlink_to(real)
    plant(made.workspace)
    return made


def make_wheel(folder: Path, name: str) -> str:
    """Write NAME-1.0, a module; the wheel's hash."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "VALUE = 42\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(member, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


HOSTILE = {
    "PIP_CONFIG_FILE": "{w}/pip.conf",
    "PIP_TARGET": "{w}/sprung-target",
    "PIP_PREFIX": "{w}/sprung-prefix",
    "PIP_USER": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_LOG": "{w}/sprung-log",
    "PIP_EXTRA_INDEX_URL": "file://{w}/%7Eindex http://127.0.0.1:9/simple",
    "UV_INDEX": "own=file://{w}/index",
    "UV_FIND_LINKS": "file://%zz",
    "OPENSSL_CONF": "openssl.cnf",
    "PIP_CACHE_DIR": "{w}/sprung-cache",
    "UV_CACHE_DIR": "{w}/sprung-uv-cache",
    "UV_CONFIG_FILE": "{w}/uv.toml",
    "UV_ENV_FILE": "{w}/.env",
    "UV_PROJECT": "{w}",
    "PYTHONPATH": "{w}",
    "PYTHONHOME": "{w}",
    "PYTHONUSERBASE": "{w}",
    "PYTHONSTARTUP": "{w}/json.py",
    "XDG_CONFIG_HOME": "{w}/.config",
    "XDG_CONFIG_DIRS": "{w}/.config",
    "TMPDIR": "{w}/sprung-tmp",
    "NETRC": "{w}/.netrc",
    "BASH_ENV": "{w}/bin/sh",
    "ENV": "{w}/bin/sh",
    "LD_LIBRARY_PATH": "{w}/lib",
    "NODE_PATH": "{w}/node_modules",
    "VIRTUAL_ENV": "{w}/.venv",
}


def change(file: Path) -> None:
    """Change a byte, and set the times as they were."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
