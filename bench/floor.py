"""Floors: the shortest times that are possible on this cluster.

For a fully cached build: the interpreter, grpcio's import and one call. For an upload: only its bytes, into a sink in
the builder's pod, over TCP and through a port that the API server forwards.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import measure
from bench.ground import Ground
from bench.measure import CommandFailed, Run
from ci_buildx.builder.builder import PORT, SERVER_NAME
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.pods import CONTAINER
from ci_buildx.transport import tunnel
from ci_buildx.transport.race import PodAddress

_ONE_CALL = """\
import os, sys
from pathlib import Path
from ci_buildx.buildkit.control import Control
target, name, *files = sys.argv[1:]
with Control(target, credentials=tuple(Path(file).read_bytes() for file in files), server_name=name) as control:
    control.read_version(10)
    os._exit(0)
"""
_CHUNK = 256 << 10
_PATIENCE = 60.0
_STARTING = 5.0


def address(ground: Ground, builder: str) -> PodAddress:
    """Return the address of the pod of a builder of kube-builder."""
    pod = ground.kube.list(f"/api/v1/namespaces/{builder}/pods")["items"][0]
    return PodAddress(
        namespace=builder, name=pod["metadata"]["name"], ip=pod["status"]["podIP"], container=CONTAINER, port=PORT
    )


def one_call(ground: Ground, builder: str) -> Callable[[int], Run]:
    """Return a run of an interpreter that imports grpcio, calls buildkitd once by mTLS and exits.

    It makes no call to the API server.
    """
    pod = address(ground, builder)
    keys = records.load_builder(ground.kube, records.find_builder(ground.kube, builder)).keys
    files = []
    for name, content in (("ca", keys.ca), ("certificate", keys.certificate), ("key", keys.key.reveal())):
        files.append(ground.folder / f"floor-{name}")
        files[-1].write_bytes(content)
    python = ground.product.with_name("python")
    argv = [str(python), "-c", _ONE_CALL, f"{pod.ip}:{PORT}", SERVER_NAME, *map(str, files)]
    return lambda _: measure.run(argv, env=ground.env, cwd=ground.folder)


@contextmanager
def sink(ground: Ground, builder: str, size: int) -> Iterator[PodAddress]:
    """Open a port of the pod that reads ``size`` bytes, confirms that and closes."""
    pod = address(ground, builder)
    port = 20_000 + secrets.randbelow(10_000)
    listen = ("busybox", "nc", "-l", "-p", str(port), "-e", "sh", "-c", f"head -c {size} >/dev/null && echo")
    with tunnel.open_exec(ground.kube, pod, command=listen) as endpoint, _local(endpoint.target):
        yield PodAddress(namespace=pod.namespace, name=pod.name, ip=pod.ip, container=CONTAINER, port=port)


def raw(ground: Ground, builder: str, size: int) -> Callable[[int], Run]:
    """Return a run that sends ``size`` bytes over plain TCP."""

    def run(_: int) -> Run:
        with sink(ground, builder, size) as pod, _retried(lambda: socket.create_connection((pod.ip, pod.port))) as link:
            return _timed(link, size)

    return run


def forwarded(ground: Ground, builder: str, size: int) -> Callable[[int], Run]:
    """Return a run that sends ``size`` bytes through a forwarded port, using only the tunnel."""

    def run(_: int) -> Run:
        with sink(ground, builder, size) as pod:
            time.sleep(0.3)  # If no process listens at a forwarded port, the tunnel ends.
            with tunnel.open_port_forward(ground.kube, pod) as endpoint, _local(endpoint.target) as link:
                return _timed(link, size)

    return run


def _local(target: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(Path(target.removeprefix("unix:"))))
    return link


def _retried(connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect to a server that is still starting."""
    until = time.monotonic() + _STARTING
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return connect()
        if time.monotonic() > until:
            raise CommandFailed("the floor's sink does not listen")
        time.sleep(0.02)


def _timed(link: socket.socket, size: int) -> Run:
    """Send ``size`` bytes and wait until they are confirmed."""
    link.settimeout(_PATIENCE)
    content = memoryview(secrets.token_bytes(_CHUNK))
    start, begun = time.monotonic(), time.process_time()
    for sent in range(0, size, _CHUNK):
        link.sendall(content[: min(_CHUNK, size - sent)])
    if not link.recv(1):
        raise CommandFailed("the floor's sink went away")
    return Run(seconds=time.monotonic() - start, cpu=time.process_time() - begun)
