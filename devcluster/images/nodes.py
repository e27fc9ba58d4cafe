"""Images in the containerds of the cluster nodes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from devcluster import programs
from devcluster.errors import DevclusterError
from devcluster.layout import Node


def held(node: Node) -> dict[str, str]:
    """Return the digest of each image on a cluster node, by containerd's name. Raises DevclusterError."""
    rows = (line.split() for line in ctr(node, "images", "list").splitlines()[1:])
    return {name: digest for name, _, digest, *_ in rows}


def forget(node: Node, current: Mapping[str, str]) -> list[str]:
    """Remove each image whose digest differs from the current one of its reference; return the removed names.

    References in `current` are without a registry. Raises DevclusterError.
    """
    stale = [name for name, digest in held(node).items() if current.get(name.partition("/")[2], digest) != digest]
    if stale:
        ctr(node, "images", "remove", "--sync", *stale)
    return stale


def ctr(node: Node, *arguments: str) -> str:
    """Run containerd's client in the namespace of the kubelet's images; return its output.

    Raises DevclusterError.
    """
    command = [str(programs.path("ctr")), "--address", str(node.socket), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise DevclusterError(f"containerd of node {node.name}: {done.stderr.strip()}")
    return done.stdout
