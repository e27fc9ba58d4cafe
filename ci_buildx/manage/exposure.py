"""Sockets through which other programs use a builder, and the commands that run with one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.build.build_run import collect_secrets
from ci_buildx.build.builder_scope import BuilderRun, RunRequest, open_run_scope
from ci_buildx.build.connect import NodeConnection, connect_nodes
from ci_buildx.build.context import origin
from ci_buildx.builder.builder import SERVER_NAME, Builder
from ci_buildx.builder.plan import NodePlan
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.kube.tls import run_relay
from ci_buildx.progress.plain import CONNECTING
from ci_buildx.settings.values import Settings
from ci_buildx.transport.local_socket import EndpointDialer, LocalSocket, open_local_socket

if TYPE_CHECKING:
    from ci_buildx.builder.identity import JobIdentity

HOST = "BUILDKIT_HOST"
"""Variable with which buildctl, nerdctl and others find buildkitd (BuildKit 0.34.2, ``cmd/buildctl/main.go``)."""
_LOOK = 0.05
_END_TIME = 3.0
"""Seconds for a command to end after SIGTERM."""
_SETTLE = 5.0
"""Seconds for a command and its socket to end after a signal."""
_SHORT_FOLDER = "set TMPDIR to a writable folder with a short path"
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell."""


@contextmanager
def open_sockets(run: BuilderRun, folder: Path) -> Iterator[dict[str, LocalSocket]]:
    """Connect to the builder's nodes and serve a socket for each, ``FOLDER/NODE.sock``; return them by path.

    Raises the KubeBuilderError tree if a pod cannot start or be reached, or a socket cannot be made.
    """
    with connect_nodes(run.site, run.builder) as (_, connections), ExitStack() as undo:
        found = {}
        for one in connections:
            path = folder / _name_socket(one.node)
            try:
                found[str(path)] = undo.enter_context(open_local_socket(path, make_dialer(one, run.builder)))
            except OSError as error:
                raise KubeBuilderError(f"cannot make the socket {path}: {error}", fix=_SHORT_FOLDER) from error
        yield found


def _name_socket(node: NodePlan) -> str:
    return f"{node.name}.sock"


def make_dialer(connection: NodeConnection, builder: Builder) -> EndpointDialer:
    """Return the dialer for further connections to a node's pod, over the transport that answered."""
    keys = builder.keys
    return EndpointDialer(
        endpoint=connection.winner.endpoint,
        authority=keys.ca,
        certificate=keys.certificate,
        key=keys.key,
        server_name=SERVER_NAME,
    )


def run_with_builder(
    settings: Settings, *, env: Mapping[str, str], display_stream: TextIO, work: Callable[[BuilderRun], int]
) -> int:
    """Run ``work`` on the builder of the settings, or on one that exists as long as the work; return its exit code.

    Raises the KubeBuilderError tree and Interrupted, after a builder of its own has been removed.
    """
    identity: JobIdentity | None = None
    if not settings.builder_name:
        identity = origin.make_job_identity(settings.build.context, env)
    request = RunRequest(
        settings=settings,
        builds=(),
        env=env,
        display_stream=display_stream,
        hidden=collect_secrets(settings.build, env),
        identity=identity,
        announce=lambda _: None,
        heading=CONNECTING,
    )
    with open_run_scope(request) as scope, scope.open_builder() as run, run.cancel_on_failure():
        return run.interrupts.run(lambda: work(run), settle=_SETTLE)


def run_command(run: BuilderRun, command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command with ``BUILDKIT_HOST`` and return its exit code, as a shell has it. Raises InputError."""
    name = max(map(_name_socket, run.builder.plan.nodes), key=len)
    with ExitStack() as undo:
        try:
            folder = undo.enter_context(scratch.open_socket_folder(name))
        except OSError as error:
            raise InputError("no folder can hold a socket", fix=_SHORT_FOLDER) from error
        sockets = undo.enter_context(open_sockets(run, folder))
        path, served = next(iter(sockets.items()))
        run.site.display.refresh()
        try:
            process = subprocess.Popen(command, env={**env, HOST: f"unix://{path}"})
        except OSError as error:
            code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
            run.site.display.warn(f"cannot run {command[0]}: {error.strerror}")
            return code
        code = wait_for(process, run.site.stop)
    if code and served.failure:
        run.site.display.warn(f"the builder could not be reached: {served.failure}")
    return code if code >= 0 else 128 - code


def wait_for(process: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Wait for a process and return its code; it is ended if ``stop`` is set."""
    while not stop.is_set():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK)
    process.terminate()
    try:
        return process.wait(_END_TIME)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def connect_standard_streams(run: BuilderRun, source: int, target: int) -> int:
    """Connect the descriptors ``source`` and ``target`` with the builder until one side ends. Returns 0.

    Raises KubeBuilderError if the connection cannot be opened.
    """
    with connect_nodes(run.site, run.builder) as (_, connections):
        try:
            remote = make_dialer(connections[0], run.builder).dial()
        except (OSError, ValueError) as error:
            raise KubeBuilderError(f"cannot connect to the builder: {error}", fix="try again") from error
        near, far = socket.socketpair()
        threading.Thread(target=run_relay, args=(remote, far), name="dial-stdio", daemon=True).start()
        threading.Thread(target=_send_all, args=(source, near), name="dial-stdio", daemon=True).start()
        with near:
            write_received(near, target)
    return 0


def write_received(near: socket.socket, target: int) -> None:
    """Write to the descriptor ``target`` what a socket receives until its other side ends, however it ends.

    Raises BrokenPipeError if the reader is gone, KubeBuilderError if nothing can be written.
    """
    while True:
        try:
            content = near.recv(1 << 16)
        except OSError:  # The other side has ended and left something unread.
            return
        if not content:
            return
        try:
            _write_all(target, content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise KubeBuilderError(f"cannot write to standard output: {error.strerror}") from error


def _send_all(source: int, near: socket.socket) -> None:
    with suppress(OSError):
        while content := os.read(source, 1 << 16):
            near.sendall(content)
        near.shutdown(socket.SHUT_WR)


def _write_all(target: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(target, view) :]
