"""Removes every trace of a cluster from the host."""

import shutil
import sys
from collections.abc import Callable

from devcluster import binfmt, cgroups, namespaces, sweep
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.up import locked, phase


def down(cluster: Cluster) -> None:
    """End the processes and remove what they left; everything is tried, then the first fault is raised.

    Works on a cluster that is up, half up, killed or gone.
    """
    # Processes come first, because they hold the rest; registration before namespaces, which give the way to it.
    steps: list[Callable[[Cluster], None]] = [
        sweep.kill,
        binfmt.unregister,
        namespaces.remove,
        cgroups.remove,
        remove_state,
    ]
    with phase("down"), locked(cluster):
        faults = []
        for step in steps:
            try:
                step(cluster)
            except (DevclusterError, OSError) as failure:
                faults.append(failure)
        for further in faults[1:]:
            print(f"devcluster: {further}", file=sys.stderr)
        if faults:
            raise faults[0]


def remove_state(cluster: Cluster) -> None:
    """Remove the state folder, and the folder of all clusters with the last of them."""
    for point in namespaces.mount_points():
        if point.startswith(f"{cluster.state}/"):
            raise DevclusterError(f"{point} is still mounted: unmount it and run `down` again")
    shutil.rmtree(cluster.state)
    if not any(cluster.state.parent.iterdir()):
        cluster.state.parent.rmdir()
