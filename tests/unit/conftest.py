"""What unit tests of all packages share."""

from __future__ import annotations

import io
import pwd
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from ci_buildx.cli import debug
from ci_buildx.cli.process import ProcessContext
from tests.unit.memory_cluster import MemoryCluster, serve_cluster


@dataclass
class DebugLog:
    """What a user sees of the debug log."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    @property
    def text(self) -> str:
        """All of it."""
        return self.stream.getvalue()

    def of(self, package: str) -> list[str]:
        """The messages of one package, without times."""
        mark = f" DEBUG ci_buildx.{package}: "
        return [line.partition(mark)[2] for line in self.text.splitlines() if mark in line]


@pytest.fixture
def debug_log() -> Iterator[DebugLog]:
    """The debug log, switched on for one test as ``--debug`` does it."""
    log = DebugLog()
    around = ProcessContext(env={}, cwd=Path("/"), stdout=io.StringIO(), stderr=log.stream)
    debug.switch_on(around, (), as_json=False)
    try:
        yield log
    finally:
        debug.switch_off()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has no home: neither the environment nor the system's list names one, as in a pod of OpenShift."""

    def find_user(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_user)


@pytest.fixture
def memory_cluster() -> Iterator[MemoryCluster]:
    """A cluster in memory, whose pods run a buildkitd that the test scripts."""
    with serve_cluster() as cluster:
        yield cluster
