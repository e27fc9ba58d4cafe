"""A bare buildkitd on loopback, the same program that the devcluster's pods run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.buildkit.control import Control
from ci_buildx.errors import BuildkitError
from devcluster import programs

_START = 60.0


@contextmanager
def serving(
    folder: Path,
    options: Sequence[str],
    *,
    credentials: tuple[bytes, bytes, bytes] | None = None,
    server_name: str = "",
) -> Iterator[str]:
    """A buildkitd that keeps everything in ``folder``; yields its address when it answers."""
    programs.build(["buildkit", "runc"])
    address = f"127.0.0.1:{free_port()}"
    runc = programs.path("runc")
    command: list[str | Path] = [
        programs.path("buildkitd"),
        *("--root", folder / "root", "--addr", f"tcp://{address}"),
        *("--oci-worker-binary", runc, "--oci-worker-net", "host"),
        *options,
    ]
    environment = {**os.environ, "PATH": f"{runc.parent}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log, _running(command, log.fileno(), environment):
        deadline = time.monotonic() + _START
        while not _answers(Control(address, credentials=credentials, server_name=server_name)):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield address


@contextmanager
def _running(command: list[str | Path], log: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(control: Control) -> bool:
    with control:
        try:
            return bool(control.list_workers(timeout=5))
        except BuildkitError:
            return False


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
