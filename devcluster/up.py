"""Starts a cluster, or its missing parts."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from devcluster import (
    binfmt,
    bootstrap,
    cgroups,
    health,
    images,
    inotify,
    namespaces,
    objects,
    processes,
    services,
    sweep,
    versions,
)
from devcluster.api import Api
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.locks import locked
from devcluster.preparation import phase, prepare

PATIENCE = 90.0
LOG_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Waits for conditions while these services must be alive."""

    cluster: Cluster
    services: list[services.Service]

    def until(self, what: str, probe: Callable[[], bool], explain: Callable[[], str] = lambda: "no answer") -> None:
        """Wait for `probe`; fail at the deadline or as soon as one of the services has ended."""
        deadline = time.monotonic() + PATIENCE
        while not probe():
            for service in self.services:
                if not processes.running(self.cluster, service.name):
                    end = tail(self.cluster, service.name)
                    raise DevclusterError(f"{service.name} ended while waiting for {what}:\n{end}")
            if time.monotonic() > deadline:
                raise DevclusterError(f"waited {PATIENCE:.0f} s for {what}: {explain()}")
            time.sleep(0.05)


def tail(cluster: Cluster, name: str) -> str:
    """Return the end of a process's log."""
    lines = (cluster.run / f"{name}.log").read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def up(cluster: Cluster, wanted: str | None = None, *, small: bool = False) -> None:
    """Start all missing processes and wait until the cluster is healthy.

    ``wanted`` is a new cluster's minor version of Kubernetes. ``small`` leaves out what no build needs (CoreDNS, and
    buildctl in BuildKit's images), unless it is built. Raises DevclusterError if the cluster has another version.
    """
    version = versions.choose(cluster, wanted)
    prepare(version, small=small)
    namespaces.refuse_stranger(cluster)
    namespaces.refuse_overlap(cluster)
    with locked(cluster.state):
        versions.record(cluster, version)
        with phase("namespaces"):
            ensure_ground(cluster)
        with phase("configuration"):
            bootstrap.write(cluster)
        start(cluster)


def start(cluster: Cluster) -> None:
    """Start the processes in order; each group waits for its dependencies in earlier groups."""
    foundation, control, nodes = (make(cluster) for make in (services.foundation, services.control, services.nodes))
    servers = services.servers(cluster)
    api = Api(cluster)
    with phase("registries"):
        services.start(cluster, foundation)
        waiting = Wait(cluster=cluster, services=foundation)
        waiting.until("the registries to answer", lambda: all(health.answers(server) for server in servers))
    with phase("images"):
        images.push_all(cluster)
        waiting.until("containerd", lambda: all(health.listens(node.socket) for node in cluster.nodes))
        images.forget_stale(cluster)
    with phase("API server"):
        waiting.until("the API server", api.ready)
        services.start(cluster, control)
        for thing in objects.initial(cluster):
            api.apply(thing)
    with phase("nodes"):
        services.start(cluster, nodes)
        await_health(Wait(cluster=cluster, services=[*foundation, *control, *nodes]))


def ensure_ground(cluster: Cluster) -> None:
    """Create namespaces, link, cgroups and binfmt if missing, and raise the limit of inotify instances.

    If the namespaces are gone, so are all pods, and their leftovers are removed.
    """
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
    inotify.raise_limit(cluster.state.parent)


def await_health(waiting: Wait) -> None:
    """Wait until all checks pass."""
    faults: list[str] = []

    def healthy() -> bool:
        faults[:] = [str(finding) for finding in health.findings(waiting.cluster) if finding.fault]
        return not faults

    waiting.until("a healthy cluster", healthy, lambda: "; ".join(faults))
