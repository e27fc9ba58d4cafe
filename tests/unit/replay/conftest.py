"""What tests of `replay` share: a registry, and the verbs beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from tests.unit.imagetools.memory_registry import MemoryRegistry, served


class ReplayShell:
    """Runs verbs in a folder; ``stdout`` and ``stderr`` are those of the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stdout, self.stderr = b"", ""

    def run(self, *argv: str) -> int:
        """Return the exit code."""
        out, err = io.BytesIO(), io.StringIO()
        stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        home = str(self.folder / "home")
        env = {"HOME": home, "DOCKER_CONFIG": home, "XDG_STATE_HOME": home}
        code = main(argv, ProcessContext(env=env, cwd=self.folder, stdout=stdout, stderr=err))
        stdout.flush()
        self.stdout, self.stderr = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def shell(tmp_path: Path) -> ReplayShell:
    """A shell in the test's folder."""
    return ReplayShell(tmp_path)


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """A registry with the referrers API."""
    with served(has_referrers=True) as found:
        yield found
