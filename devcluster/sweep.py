"""Finds and ends every process of a cluster, whoever its parent is."""

import os
import signal
import time
from pathlib import Path

from devcluster import cache, cgroups, processes
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

PATIENCE = 30.0


def kill(cluster: Cluster) -> None:
    """Kill all of them, again and again until none is left: shims outlive containerd, pods outlive shims."""
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
    """A command inside the cluster's own network namespace would have to kill itself."""
    if namespace("self", "net") in kept_namespaces(cluster):
        raise DevclusterError("this runs inside the cluster's network namespace (`devcluster exec`): leave it first")


def find(cluster: Cluster) -> set[int]:
    """Processes recorded, in the cluster's cgroups or namespaces, or of our programs with its folder as argument."""
    recorded = {process.pid for process in processes.records(cluster) if process.alive}
    kept = kept_namespaces(cluster)
    found = {pid for pid in alive() if belongs(pid, cluster, kept)}
    return recorded | found | {pid for pid in cgroups.processes(cluster) if processes.start_time(pid) is not None}


def alive() -> list[int]:
    """All processes of the host but zombies and this one."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and processes.start_time(pid) is not None]


def belongs(pid: int, cluster: Cluster, kept: set[int]) -> bool:
    """Whether the process is in one of the namespaces, or one of our programs at work in the state folder."""
    if {namespace(str(pid), "net"), namespace(str(pid), "mnt")} & kept:
        return True
    try:
        program = (Path("/proc") / str(pid) / "exe").readlink()
        arguments = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return program.is_relative_to(cache.folder() / "programs") and f"{cluster.state}/".encode() in arguments


def kept_namespaces(cluster: Cluster) -> set[int]:
    """Inode numbers of the cluster's namespaces."""
    outside = cluster.state.stat().st_dev if cluster.state.exists() else None
    found = set()
    for name in ("net", "mnt"):
        file = cluster.namespaces / name
        # The file itself, with no namespace mounted on it, is on the state folder's device.
        if file.exists() and file.stat().st_dev != outside:
            found.add(file.stat().st_ino)
    return found


def namespace(process: str, kind: str) -> int:
    """Inode number of a process's namespace, 0 where it is gone."""
    try:
        return Path(f"/proc/{process}/ns/{kind}").stat().st_ino
    except OSError:
        return 0
