"""Brings a cluster up, or what is missing of one."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devcluster import (
    binfmt,
    bootstrap,
    cgroups,
    health,
    host,
    images,
    namespaces,
    objects,
    processes,
    programs,
    registry,
    services,
    sweep,
)
from devcluster.api import Api
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

PATIENCE = 90.0
LOG_LINES = 8


def up(cluster: Cluster) -> None:
    """Start everything that doesn't run and wait until the cluster is healthy."""
    with phase("host packages"):
        host.install_packages()
    with phase("programs"):
        programs.build(programs.CLUSTER_MODULES)
    with locked(cluster):
        with phase("namespaces"):
            ensure_ground(cluster)
        with phase("configuration"):
            bootstrap.write(cluster)
        start(cluster)


def start(cluster: Cluster) -> None:
    """Start the processes in order; each group waits for what it needs of the one before."""
    servers = registry.services(cluster)
    with phase("registries"):
        services.start(cluster, services.foundation(cluster))
        await_truth(cluster, "the registries to answer", lambda: all(health.answers(server) for server in servers))
    with phase("images"):
        images.push_all(cluster)
        images.forget_stale(cluster)
    with phase("API server"):
        await_truth(cluster, "the API server", Api(cluster).ready)
        services.start(cluster, services.control(cluster))
        for thing in objects.initial(cluster):
            Api(cluster).apply(thing)
    with phase("nodes"):
        services.start(cluster, services.nodes(cluster))
        await_health(cluster)


def ensure_ground(cluster: Cluster) -> None:
    """Namespaces, link, cgroups and binfmt. Where the namespaces are gone, so is every pod: what is left is cleared."""
    if not namespaces.exist(cluster):
        sweep.kill(cluster)
        namespaces.remove(cluster)
        for node in cluster.nodes:
            shutil.rmtree(node.folder / "state", ignore_errors=True)
        namespaces.create(cluster)
    elif not namespaces.joined(cluster):
        namespaces.join(cluster)
    cgroups.create(cluster)
    binfmt.register(cluster)


def await_health(cluster: Cluster) -> None:
    """Wait until nothing is found wrong."""
    faults: list[str] = []

    def healthy() -> bool:
        faults[:] = [str(finding) for finding in health.findings(cluster) if finding.fault]
        return not faults

    await_truth(cluster, "a healthy cluster", healthy, lambda: "; ".join(faults))


def await_truth(
    cluster: Cluster, what: str, probe: Callable[[], bool], explain: Callable[[], str] = lambda: "no answer"
) -> None:
    """Wait for `probe`; give up at the deadline or as soon as a started process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not probe():
        for process in processes.records(cluster):
            if not process.alive:
                raise DevclusterError(f"{process.name} ended while waiting for {what}:\n{tail(cluster, process.name)}")
        if time.monotonic() > deadline:
            raise DevclusterError(f"waited {PATIENCE:.0f} s for {what}: {explain()}")
        time.sleep(0.05)


def tail(cluster: Cluster, name: str) -> str:
    """The end of a process's log."""
    lines = (cluster.run / f"{name}.log").read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


@contextmanager
def locked(cluster: Cluster) -> Iterator[None]:
    """Hold the cluster's lock: its state folder. A folder that `down` has removed meanwhile is made again."""
    while True:
        cluster.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cluster.state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if cluster.state.exists() and os.path.samestat(os.fstat(descriptor), cluster.state.stat()):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Say how long a part took."""
    began = time.monotonic()
    yield
    print(f"{name:<14} {time.monotonic() - began:5.1f} s", file=sys.stderr, flush=True)
