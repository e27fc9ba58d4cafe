"""A user's repository that holds the product, as `uses: ./` and `include: local` need it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from devcluster import cache, programs, toolchain
from tests.unit.planted import plant

ROOT = Path(__file__).parents[2]
PRODUCT = ("action.yml", "action", "setup", "merge", "bake", "ci_buildx", "gitlab-template", "requirements.lock")
AUTHOR = ("-c", "user.name=Ann", "-c", "user.email=ann@mail.example")
HOST = "git.example"
ACT_HERE = ("--platform", "ubuntu-latest=-self-hosted", "--pull=false")
"""Options of act: steps run on this machine, as on GitHub itself."""
ACT = (*ACT_HERE, "--github-instance", HOST)
"""The same on a server of one's own: `team/NAME` is the repository on the host that its remote names."""
BOTH = "FROM busybox\nCOPY note /note\nRUN uname -m > /machine\n"
FAILS = "FROM busybox\nRUN echo almost && exit 7\n"
SLOW = "FROM busybox\nRUN echo begun && sleep 60\n"


def make(folder: Path, *, name: str, dockerfile: str, files: dict[str, str]) -> Path:
    """A committed git repository ``team/NAME`` with the context ``app``."""
    folder.mkdir()
    for part in PRODUCT:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    for path, text in {"app/Dockerfile": dockerfile, "app/note": "hello\n", **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git = ("git", "-C", str(folder))
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, *AUTHOR, "commit", "--quiet", "--message", "All"], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"https://{HOST}/team/{name}.git"], check=True)
    return folder


def set_traps(folder: Path) -> None:
    """Add every file that Python, Node, git and their tools pick up, except where the product's own is."""
    plant(folder)
    # These would be those of the Action, which is in this checkout.
    for name in ("package.json", "node_modules"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def program(name: str) -> str:
    """A pinned program of the tests', built on first use."""
    if not programs.installed()[name].exists():
        programs.build_all()
    return str(programs.path(name))


def environment(home: str) -> dict[str, str]:
    """A clean one: Node, Python and the product's command on the PATH, and a home that outlives the tests.

    The home holds the runners' caches: the Action's Python environment is made once for all test runs.
    """
    place = cache.folder() / home
    (place / ".config" / "act").mkdir(parents=True, exist_ok=True)
    (place / ".config" / "act" / "actrc").touch()
    path = (toolchain.node().parent, Path(sys.executable).parent, Path(sys.base_prefix) / "bin", "/usr/bin", "/bin")
    return {"HOME": str(place), "PATH": ":".join(map(str, path)), "LANG": "C.UTF-8"}
