"""Version of Kubernetes that a cluster has: chosen by its first start, kept with its state."""

from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.programs import DEFAULT, KUBERNETES


def read(cluster: Cluster) -> str:
    """Return the cluster's minor version such as ``1.37``; the default one if the cluster was never started."""
    try:
        return cluster.version.read_text().strip()
    except FileNotFoundError:
        return DEFAULT


def choose(cluster: Cluster, wanted: str | None) -> str:
    """Return the minor version that a start must use: the running cluster's, else ``wanted`` or the default one.

    Raises DevclusterError if the version is unknown, or if the cluster has another one: an older etcd cannot read the
    data of a newer one.
    """
    if wanted is not None and wanted not in KUBERNETES:
        raise DevclusterError(f"unknown version {wanted!r} of Kubernetes; known: {', '.join(KUBERNETES)}")
    present = read(cluster) if cluster.version.exists() or cluster.kubeconfig.exists() else None
    if present and wanted and present != wanted:
        down = f"python -m devcluster --name {cluster.name} down"
        raise DevclusterError(f"cluster {cluster.name!r} has Kubernetes {present}: remove it with `{down}` first")
    return present or wanted or DEFAULT


def record(cluster: Cluster, version: str) -> None:
    """Store the version for later starts."""
    cluster.version.parent.mkdir(parents=True, exist_ok=True)
    cluster.version.write_text(f"{version}\n")
