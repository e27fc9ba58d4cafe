"""Finds and ends all processes of a cluster, with any parent."""

import os
import signal
import time
from pathlib import Path

from devcluster import cache, cgroups, processes
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

PATIENCE = 30.0


def kill(cluster: Cluster) -> None:
    """Kill all processes repeatedly until none is left: shims outlive containerd, pods outlive shims."""
    refuse_suicide(cluster)
    deadline = time.monotonic() + PATIENCE
    while found := find(cluster):
        if time.monotonic() > deadline:
            raise DevclusterError(f"processes {sorted(found)} of cluster {cluster.name!r} survive SIGKILL")
        for pid in found:
            processes.send(pid, signal.SIGKILL)
        time.sleep(0.02)
        processes.reap(found)


def refuse_suicide(cluster: Cluster) -> None:
    """Raise if this command runs inside the cluster's network namespace: it would have to kill itself."""
    if namespace("self", "net") in kept_namespaces(cluster):
        raise DevclusterError("this runs inside the cluster's network namespace (`devcluster exec`): leave it first")


def find(cluster: Cluster) -> set[int]:
    """Return all processes of the cluster.

    These are recorded ones, those in its cgroups or namespaces, and our programs with its folder as argument.
    """
    recorded = {process.pid for process in processes.records(cluster) if process.alive}
    kept = kept_namespaces(cluster)
    found = {pid for pid in alive() if belongs(pid, cluster, kept)}
    return recorded | found | {pid for pid in cgroups.processes(cluster) if processes.start_time(pid) is not None}


def alive() -> list[int]:
    """Return all processes of the host except zombies and this one."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and processes.start_time(pid) is not None]


def belongs(pid: int, cluster: Cluster, kept: set[int]) -> bool:
    """Return whether a process is in one of the namespaces, or is one of our programs that uses the state folder."""
    if {namespace(str(pid), "net"), namespace(str(pid), "mnt")} & kept:
        return True
    try:
        program = (Path("/proc") / str(pid) / "exe").readlink()
        arguments = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return program.is_relative_to(cache.folder() / "programs") and f"{cluster.state}/".encode() in arguments


def kept_namespaces(cluster: Cluster) -> set[int]:
    """Return the inode numbers of the cluster's namespaces."""
    outside = cluster.state.stat().st_dev if cluster.state.exists() else None
    found = set()
    for name in ("net", "mnt"):
        file = cluster.namespaces / name
        # The file itself, without a namespace mounted on it, is on the state folder's device.
        if file.exists() and file.stat().st_dev != outside:
            found.add(file.stat().st_ino)
    return found


def namespace(process: str, kind: str) -> int:
    """Return the inode number of a process's namespace, or 0 if the process is gone."""
    try:
        return Path(f"/proc/{process}/ns/{kind}").stat().st_ino
    except OSError:
        return 0
