"""Removes every trace of a cluster from the host."""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from devcluster import binfmt, cgroups, namespaces, sweep
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.locks import locked
from devcluster.up import phase


def down(cluster: Cluster) -> None:
    """End the processes and remove what they left; everything is tried, then the first fault is raised.

    Works on a cluster that is up, half up, killed or gone.
    """
    root = cluster.state.parent
    # Processes come first, because they hold the rest; what clusters share comes when this one is none any more.
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
    """Remove what all clusters share with the last of them."""
    with locked(root):
        if not any(path.is_dir() for path in root.iterdir()):
            binfmt.unregister(root)
            with suppress(OSError):  # Another cluster comes up at this moment.
                root.rmdir()
