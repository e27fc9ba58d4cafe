"""The product as a user's shell runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

COMMAND = (sys.executable, "-m", "ci_buildx")
NAME = re.compile(r"kube-builder-[a-z0-9-]+")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended. ``stdout`` is bytes: it may be a tar."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def builder(self) -> str:
        """The builder that the log names first."""
        found = NAME.search(self.stderr)
        assert found, self.stderr
        return found[0]


@dataclass(frozen=True, kw_only=True)
class Product:
    """`kube-builder` in a working directory, with the options that the devcluster's registries need."""

    cwd: Path
    env: Mapping[str, str]
    config: Path

    def build(self, *options: str, own_builder: bool = True) -> Run:
        """`kube-builder build`; an existing builder takes no configuration."""
        configured = ["--buildkitd-config", str(self.config)] if own_builder else []
        return self.run("build", *configured, *options)

    def run(self, *arguments: str) -> Run:
        """Any verb."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.cwd, env=dict(self.env), capture_output=True, timeout=240, check=False
        )
        return Run(code=done.returncode, stdout=done.stdout, stderr=done.stderr.decode())

    def popen(self, *options: str, own_builder: bool = True) -> subprocess.Popen[str]:
        """A build that the test follows; stderr and stdout together."""
        configured = ["--buildkitd-config", str(self.config)] if own_builder else []
        command = [*COMMAND, "build", *configured, *options]
        return subprocess.Popen(
            command, cwd=self.cwd, env=dict(self.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def with_env(self, **variables: str) -> Product:
        """The same with more variables."""
        return replace(self, env={**self.env, **variables})
