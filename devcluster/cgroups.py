"""The cluster nodes' cgroups, in all hierarchies of the host."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

ROOT = Path("/sys/fs/cgroup")
UNIFIED_CONTROLLERS = frozenset({"cpu", "cpuset", "io", "memory", "pids"})


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Return the mounted hierarchies: the unified one alone, or one folder for each controller (cgroup v1, hybrid)."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and is_hierarchy(path))


def is_hierarchy(path: Path) -> bool:
    """Return whether the folder is the root of a cgroup file system."""
    return (path / "cgroup.procs").exists()


def create(cluster: Cluster, root: Path = ROOT) -> None:
    """Create each cluster node's cgroup."""
    for hierarchy in hierarchies(root):
        for node in cluster.nodes:
            path = hierarchy
            for part in Path(node.cgroup).parts[1:]:
                delegate(path)
                path /= part
                path.mkdir(exist_ok=True)
                inherit_cpuset(path)


def delegate(parent: Path) -> None:
    """Enable the parent's controllers for its children; only the unified hierarchy needs that."""
    control = parent / "cgroup.subtree_control"
    if control.exists():
        offered = set((parent / "cgroup.controllers").read_text().split()) & UNIFIED_CONTROLLERS
        wanted = offered - set(control.read_text().split())
        if wanted:
            control.write_text(" ".join(f"+{name}" for name in sorted(wanted)))


def inherit_cpuset(path: Path) -> None:
    """Copy processors and memory nodes from the parent: a new v1 cpuset is empty and accepts no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = path / name
        version_1 = (path / "tasks").exists()
        if version_1 and file.exists() and not file.read_text().strip():
            file.write_text((path.parent / name).read_text())


def folders(cluster: Cluster, root: Path = ROOT) -> Iterator[Path]:
    """Yield all cgroups of the cluster, children before parents."""
    for hierarchy in hierarchies(root):
        for folder, _, _ in os.walk(hierarchy / cluster.cgroup.strip("/"), topdown=False):
            yield Path(folder)


def processes(cluster: Cluster, root: Path = ROOT) -> set[int]:
    """Return all processes in the cluster's cgroups, including pods' processes in other namespaces."""
    found: set[int] = set()
    for folder in folders(cluster, root):
        try:
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        except OSError:  # removed in the meantime, or threaded
            continue
    return found


def remove(cluster: Cluster, root: Path = ROOT, *, patience: float = 10) -> None:
    """Remove the cluster's cgroups. The kernel frees a cgroup shortly after its last process ends."""
    deadline = time.monotonic() + patience
    while True:
        left = [folder for folder in folders(cluster, root) if not removed(folder)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise DevclusterError(f"cgroup {left[0]} stays busy: see {left[0] / 'cgroup.procs'}")
        time.sleep(0.02)


def removed(folder: Path) -> bool:
    """Try to remove one cgroup; return whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
