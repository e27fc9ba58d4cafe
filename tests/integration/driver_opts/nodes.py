"""Nodes that the devcluster does not have, as objects of its API: nothing runs on them, since they have no room."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from devcluster import layout, programs, versions

_NODES = "/api/v1/nodes"
_PATIENCE = 30.0


@contextmanager
def added(kube: KubeClient, *, marks: dict[str, str], spec: dict[str, Any], status: dict[str, Any]) -> Iterator[str]:
    """One more node, for as long as this is entered; its name."""
    name = f"tests-{secrets.token_hex(4)}"
    metadata = {"name": name, "labels": {labels.HOSTNAME: name, "kubernetes.io/os": "linux", **marks}}
    kube.create(_NODES, {"metadata": metadata, "spec": spec, "status": status})
    try:
        yield name
    finally:
        kube.delete(f"{_NODES}/{name}")


def _read_release() -> str:
    """Return what the cluster's kubelets report as their version."""
    return f"v{programs.KUBERNETES[versions.read(layout.cluster())]}"


@contextmanager
def without_user_namespaces(kube: KubeClient) -> Iterator[tuple[str, str]]:
    """A label, as ``key=value``, that the amd64 node has, and a ready node beside it that reports no support; its name.

    The cluster takes it for dead after some 50 s without a sign of life (kube-controller-manager's flag
    --node-monitor-grace-period).
    """
    key = f"tests.kube-builder.dev/{secrets.token_hex(4)}"
    status = {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        "nodeInfo": {
            "kubeletVersion": _read_release(),
            "architecture": "amd64",
            "operatingSystem": "linux",
        },
        "runtimeHandlers": [{"name": "", "features": {"userNamespaces": False}}],
    }
    real = f"{_NODES}/{layout.default_name()}-amd64"
    kube.patch(real, {"metadata": {"labels": {key: "yes"}}})
    try:
        with added(kube, marks={key: "yes", labels.ARCHITECTURE: "amd64"}, spec={}, status=status) as name:
            _await_usable(kube, name)
            yield f"{key}=yes", name
    finally:
        kube.patch(real, {"metadata": {"labels": {key: None}}})


def _await_usable(kube: KubeClient, name: str) -> None:
    """Each node begins with a taint, until the cluster has seen that it is ready."""
    deadline = time.monotonic() + _PATIENCE
    while kube.get(f"{_NODES}/{name}")["spec"].get("taints"):
        assert time.monotonic() < deadline, "the node stays tainted"
        time.sleep(0.1)
