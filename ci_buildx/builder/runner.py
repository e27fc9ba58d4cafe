"""The pod that this process runs in, where it is one of the cluster's own: the builder can be made to go with it.

Owners do not reach across namespaces (Kubernetes' documentation, "Owners and dependents"): a pod can own only what is
in its own namespace.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from ci_buildx.errors import KubeError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this machine is called, and its addresses."""

    name: str
    addresses: frozenset[str]


def this_host() -> Host:
    """In a pod, the pod's name and IP addresses: the kubelet writes them into its ``/etc/hosts``."""
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    return Host(name=name, addresses=frozenset(str(entry[4][0]) for entry in found))


def own_pod(
    kube: KubeClient, namespace: str, env: Mapping[str, str], *, look: Callable[[], Host] = this_host
) -> dict[str, str] | None:
    """A reference to the pod that this process runs in, as an owner; None where it runs in no pod of ``namespace``.

    A pod of the same name in another cluster has other addresses.
    """
    if not env.get("KUBERNETES_SERVICE_HOST"):
        return None
    host = look()
    try:
        pod = kube.get(f"/api/v1/namespaces/{namespace}/pods/{host.name}")
    except KubeError:
        return None
    addresses = {address.get("ip") for address in (pod.get("status") or {}).get("podIPs") or ()}
    if not addresses & host.addresses:
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
