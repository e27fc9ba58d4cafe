"""What tests of images in registries share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from tests.unit.imagetools.memory_registry import MemoryRegistry, served

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """A registry without the referrers API, like most."""
    with served() as found:
        yield found


@pytest.fixture
def other() -> Iterator[MemoryRegistry]:
    """Another registry, which has the referrers API."""
    with served(has_referrers=True) as found:
        yield found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a verb; exit code, stdout and stderr."""

    def run_verb(*argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        env = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "docker"), "XDG_STATE_HOME": str(tmp_path)}
        around = ProcessContext(env=env, cwd=tmp_path, stdout=stdout, stderr=stderr)
        return main(argv, around), stdout.getvalue(), stderr.getvalue()

    return run_verb


def create(run: Run, *argv: str) -> None:
    """Make an image."""
    code, stdout, stderr = run("imagetools", "create", "--progress", "plain", *argv)
    assert (code, stdout) == (0, ""), stderr
