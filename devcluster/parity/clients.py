"""One buildkitd, and the two clients that build on it what the same command line says."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci_buildx.build import calls
from ci_buildx.build.context import origin
from ci_buildx.buildkit import exporters, solve_request
from ci_buildx.buildkit.control import Control, SolveResult
from ci_buildx.buildkit.grpc import open_channel
from ci_buildx.cli import build
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import KubeBuilderError
from ci_buildx.model.record import replace
from ci_buildx.session.auth import AuthService, SecretsService
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import Attachable, BuildSession
from ci_buildx.settings.values import BuildSettings
from devcluster import programs
from devcluster.bare_buildkitd import serving
from devcluster.buildkitd import section

_SERVICE = "/moby.buildkit.v1.Control/"
_ALL = b"\x10\x01"
"""A PruneRequest with field 2, ``all``, true."""
_EARLY_EXIT = b"\x18\x01"
"""A BuildHistoryRequest with field 3, ``EarlyExit``, true."""
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
    with daemon(registry, folder) as address, closing(Arena(address, folder)) as arena:
        yield arena


@contextmanager
def daemon(registry: str, folder: Path) -> Iterator[str]:
    """The buildkitd alone; yields its address."""
    config = folder / "buildkitd.toml"
    config.write_text(section(registry, ["http = true"]) + section("docker.io", [f'mirrors = ["{registry}"]']))
    with serving(folder, ["--config", str(config)]) as address:
        yield address


class Arena:
    """A buildkitd at ``address`` and buildx with a configuration of its own in ``folder``."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "docker"),
            "BUILDX_CONFIG": str(folder / "buildx"),
        }
        (folder / "docker").mkdir()
        self._channel = open_channel(address, credentials=None, server_name="")
        created = ["create", "--name", _BUILDER, "--driver", "remote", f"tcp://{address}"]
        self._check(created, Call(argv=(), env={}, cwd=folder))

    def close(self) -> None:
        """Close the connection to buildkitd."""
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

    def called_ours(self, call: Call) -> tuple[int, str]:
        """Ask the frontend with kube-builder; the exit code and what is printed."""
        settings = self._settings(call)
        assert settings.call is not None
        with chdir(call.cwd):
            answer = calls.read_answer(settings, settings.call, self._build(call).exporter_response)
        return answer.status, answer.text

    def called_theirs(self, call: Call) -> tuple[int, str]:
        """The same with docker buildx."""
        done = self._buildx(["build", "--builder", _BUILDER, "--progress", "plain", *call.argv], call.env, call.cwd)
        return done.returncode, done.stdout

    def prune(self) -> None:
        """Empty the builder's cache, which looks at content but not at times, and would hide wrong ones."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            list(self._channel.unary_stream(_SERVICE + "Prune")(_ALL, timeout=_PATIENCE))
            if not self._channel.unary_unary(_SERVICE + "DiskUsage")(b"", timeout=_PATIENCE):
                return
            assert time.monotonic() < deadline, "the builder's cache does not become empty"
            time.sleep(0.02)

    def history(self) -> list[bytes]:
        """The BuildHistoryEvents of all builds, with what was asked for."""
        return list(self._channel.unary_stream(_SERVICE + "ListenBuildHistory")(_EARLY_EXIT, timeout=_PATIENCE))

    def push_by_digest(self, call: Call) -> str:
        """Build with kube-builder as one of several nodes; the digest that it pushed."""
        return self._build(call, one_of_several=True).exporter_response["containerimage.digest"]

    def push_from_nodes(self, call: Call, nodes: Mapping[str, str]) -> str:
        """Build with docker buildx, each platform on the node whose address is given; the digest of the index."""
        name, target = f"nodes-{secrets.token_hex(4)}", call.cwd.parent / "metadata.json"
        for place, (platform, address) in enumerate(nodes.items()):
            more = ["--append"] if place else []
            node = ["--name", name, "--node", f"{name}-{place}", "--platform", platform, "--driver", "remote"]
            self._check(["create", *more, *node, f"tcp://{address}"], call)
        options = ["--builder", name, "--platform", ",".join(nodes), "--metadata-file", str(target)]
        self._check(["build", *options, *call.argv], call)
        return str(json.loads(target.read_text())["containerimage.digest"])

    def _build(self, call: Call, *, one_of_several: bool = False) -> SolveResult:
        env = {**self._env, **call.env}
        settings = self._settings(call)
        exports = exporters.make_exports(settings, by_digest=one_of_several)
        attachables: list[Attachable] = [
            FileSyncService(solve_request.list_shared_folders(settings)),
            AuthService(lambda _: None),
            SecretsService({secret.id: secret.value for secret in settings.secrets}),
            FileSendService(exports.targets),
        ]
        session = BuildSession(attachables, shared_key=solve_request.make_shared_key(settings.context))
        wanted = solve_request.make_solve_request(
            settings,
            ref=secrets.token_hex(12),
            session_id=session.id,
            platforms=settings.platforms,
            exporters=exports.exporters,
            multi_platform=one_of_several,
        )
        checkout = origin.start_git_attributes(settings, env, warn=print)()
        wanted = replace(wanted, frontend_attrs=wanted.frontend_attrs | checkout)
        with Control(self.address) as control:
            return control.solve(wanted, session=session, on_status=lambda _: None)

    def _settings(self, call: Call) -> BuildSettings:
        stream = io.StringIO()
        around = ProcessContext(env={**self._env, **call.env}, cwd=call.cwd, stdout=stream, stderr=stream)
        settings = build.parse_settings(call.argv, around).build
        return calls.narrow_to_first_platform(settings) if settings.call else settings

    def _check(self, arguments: Sequence[str], call: Call) -> None:
        done = self._buildx(arguments, call.env, call.cwd)
        assert done.returncode == 0, done.stderr

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
