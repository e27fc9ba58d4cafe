"""Git repositories to try things on, with times that are fixed."""

import os
import subprocess
from pathlib import Path


class Repository:
    """A repository in ``folder``; each commit is an hour later than the last."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._now = 1_700_000_000
        self.git("init", "-q", "-b", "main")

    def write(self, **files: str) -> None:
        """Write files; ``__`` in a name is a slash."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, message: str = "change") -> int:
        """Commit everything; returns the commit's time in seconds."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self._now += 3600
        return self._now - 3600

    def clone(self, folder: Path, *options: str) -> "Repository":
        """A clone with fresh times."""
        self.git("clone", "-q", *options, f"file://{self.folder}", str(folder))
        other = object.__new__(Repository)
        other.folder, other._now = folder, self._now
        return other

    def git(self, *arguments: str) -> str:
        """Run git here, without anybody's configuration."""
        identity = {f"GIT_{who}_{key}": "x@y.z" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        dates = {f"GIT_{who}_DATE": f"{self._now} +0000" for who in ("AUTHOR", "COMMITTER")}
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        return subprocess.run(
            ("git", *arguments),
            cwd=self.folder,
            env={**os.environ, **identity, **dates, **quiet},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
