"""The command ``bake`` on a cluster in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from tests.unit.memory_cluster import MemoryCluster


class Ended(NamedTuple):
    """What a command left."""

    code: int
    stdout: str
    stderr: str


Bake = Callable[..., Ended]


@pytest.fixture
def bake(memory_cluster: MemoryCluster, tmp_path: Path) -> Bake:
    """Run the command in a folder with a Dockerfile and the definition."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    def run(definition: str, *arguments: str, env: Mapping[str, str] | None = None, answer: str | None = None) -> Ended:
        (tmp_path / "docker-bake.hcl").write_text(definition)
        stdout, stderr = io.StringIO(), io.StringIO()
        stdin = None
        if answer is not None:
            stdin, stderr = Terminal(answer), Terminal("")
        around = ProcessContext(
            env={"KUBECONFIG": memory_cluster.kubeconfig, "HOME": str(tmp_path), **(env or {})},
            cwd=tmp_path,
            stdout=stdout,
            stderr=stderr,
            stdin=stdin,
        )
        code = main(["bake", "--progress", "plain", *arguments], around)
        return Ended(code, stdout.getvalue(), stderr.getvalue())

    return run


class Terminal(io.StringIO):
    """A stream of a terminal."""

    def isatty(self) -> bool:
        return True
