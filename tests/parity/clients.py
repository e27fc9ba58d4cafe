"""One buildkitd, and the two clients that build on it what the same command line says."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_buildx.buildkit import exporters, request
from ci_buildx.buildkit.channel import open_channel
from ci_buildx.buildkit.control import Control
from ci_buildx.cli import build
from ci_buildx.cli.world import World
from ci_buildx.errors import KubeBuilderError
from ci_buildx.job.attachables import attach
from ci_buildx.session.auth import Auth
from ci_buildx.session.session import Session
from devcluster import programs
from devcluster.buildkitd import section
from tests.integration.buildkit.conftest import serving

_SERVICE = "/moby.buildkit.v1.Control/"
_ALL = b"\x10\x01"
"""A PruneRequest with field 2, ``all``, true."""
_PATIENCE = 60.0
_BUILDER = "parity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One ``build``: the arguments after the verb, the variables it sees beside docker's, the working directory."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path


Client = Callable[[Call], str]
"""Builds, and returns why it failed, "" if it did not."""


@contextmanager
def opened(registry: str, folder: Path) -> Iterator[Arena]:
    """A bare buildkitd on loopback, with ``registry`` for Docker Hub; everything of it is in ``folder``."""
    config = folder / "buildkitd.toml"
    config.write_text(section(registry, ["http = true"]) + section("docker.io", [f'mirrors = ["{registry}"]']))
    with serving(folder, ["--config", str(config)]) as address, closing(Arena(address, folder)) as arena:
        yield arena


class Arena:
    """A buildkitd at ``address`` and buildx with a configuration of its own in ``folder``."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "docker"),
            "BUILDX_CONFIG": str(folder / "buildx"),
        }
        (folder / "docker").mkdir()
        self._channel = open_channel(address, credentials=None, server_name="")
        created = self._buildx(["create", "--name", _BUILDER, "--driver", "remote", f"tcp://{address}"], {}, folder)
        assert created.returncode == 0, created.stderr

    def close(self) -> None:
        self._channel.close()

    def ours(self, call: Call) -> str:
        """Build with kube-builder: everything from the command line to the request and the session."""
        try:
            self._build(call)
        except KubeBuilderError as error:
            return str(error)
        return ""

    def theirs(self, call: Call) -> str:
        """Build with docker buildx."""
        done = self._buildx(["build", "--builder", _BUILDER, "--progress", "plain", *call.argv], call.env, call.cwd)
        return done.stderr if done.returncode else ""

    def prune(self) -> None:
        """Empty the builder's cache, which looks at content but not at times, and would hide wrong ones."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            list(self._channel.unary_stream(_SERVICE + "Prune")(_ALL, timeout=_PATIENCE))
            if not self.ask("DiskUsage"):
                return
            assert time.monotonic() < deadline, "the builder's cache does not become empty"
            time.sleep(0.02)

    def ask(self, method: str, message: bytes = b"") -> bytes:
        """The answer to a call of the Control service."""
        answer: Any = self._channel.unary_unary(_SERVICE + method)(message, timeout=_PATIENCE)
        return bytes(answer)

    def listen(self, method: str, message: bytes) -> list[bytes]:
        """The answers to a call that streams them."""
        return list(self._channel.unary_stream(_SERVICE + method)(message, timeout=_PATIENCE))

    def _build(self, call: Call) -> None:
        env = {**self._env, **call.env}
        stream = io.StringIO()
        settings = build.parse(call.argv, World(env=env, cwd=call.cwd, stdout=stream, stderr=stream)).build
        exports = exporters.make(settings)
        session = Session(
            attach(settings, Auth(lambda _: None), exports.targets, {}),
            shared_key=request.shared_key(settings.context),
        )
        wanted = request.make(
            settings,
            ref=secrets.token_hex(12),
            session_id=session.id,
            platforms=settings.platforms,
            exporters=exports.exporters,
            multi_platform=False,
        )
        with Control(self._address) as control:
            control.solve(wanted, session=session, on_status=lambda _: None)

    def _buildx(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [programs.path("buildx"), *arguments]
        return subprocess.run(
            command,
            env={**self._env, **env},
            cwd=cwd,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
            check=False,
        )
