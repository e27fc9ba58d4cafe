"""Removes all traces of a cluster from the host."""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from devcluster import binfmt, cgroups, inotify, namespaces, sweep
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.locks import locked
from devcluster.preparation import phase


def down(cluster: Cluster) -> None:
    """End the processes and remove all leftovers; try every step, then raise the first error.

    Works on a cluster that runs, runs in part, was killed or is gone.
    """
    root = cluster.state.parent
    # Processes come first, because they hold the rest; shared things come last, when this cluster no longer counts.
    steps: list[Callable[[], None]] = [
        lambda: sweep.kill(cluster),
        lambda: namespaces.remove(cluster),
        lambda: cgroups.remove(cluster),
        lambda: remove_state(cluster),
        lambda: remove_shared(root),
    ]
    namespaces.refuse_stranger(cluster)
    with phase("down"), locked(cluster.state):
        faults = []
        for step in steps:
            try:
                step()
            except (DevclusterError, OSError) as failure:
                faults.append(failure)
        for further in faults[1:]:
            print(f"devcluster: {further}", file=sys.stderr)
        if faults:
            raise faults[0]


def remove_state(cluster: Cluster) -> None:
    """Remove the state folder."""
    for point in namespaces.mount_points():
        if point.startswith(f"{cluster.state}/"):
            raise DevclusterError(f"{point} is still mounted: unmount it and run `down` again")
    shutil.rmtree(cluster.state)


def remove_shared(root: Path) -> None:
    """Remove the things that all clusters share if this was the last cluster."""
    with locked(root):
        if not any(path.is_dir() for path in root.iterdir()):
            binfmt.unregister(root)
            inotify.restore_limit(root)
            with suppress(OSError):  # Another cluster may be starting now.
                root.rmdir()
