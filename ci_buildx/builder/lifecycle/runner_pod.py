"""The pod that this process runs in, if it is in the cluster, so that the builder can be deleted with it.

Owners do not work across namespaces (Kubernetes' documentation, "Owners and dependents"): a pod can own only objects in
its own namespace.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from ci_buildx.builder.builder import Manifest
from ci_buildx.errors import KubeError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass

_PATIENCE = 5.0
"""Seconds in which the IP address of a pod that has just started must become known.

A kubelet reports it after it has started the containers, and late if it is busy.
"""
_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHost:
    """Name and IP addresses of this machine."""

    name: str
    addresses: frozenset[str]


def read_host(towards: str) -> RunnerHost:
    """Return the hostname, in a pod its name, and the IP address that ``towards`` (an IP address) would see.

    Resolving the own hostname instead would query only DNS in images without an ``nsswitch.conf``.
    """
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect((towards, 9))  # chooses the route, and sends nothing
        except OSError:
            return RunnerHost(name=socket.gethostname(), addresses=frozenset())
        return RunnerHost(name=socket.gethostname(), addresses=frozenset((channel.getsockname()[0],)))


def find_own_pod(
    kube: KubeClient, namespace: str, env: Mapping[str, str], *, look: Callable[[str], RunnerHost] = read_host
) -> dict[str, str] | None:
    """Return an owner reference to the pod of this process; None if it does not run in a pod of ``namespace``.

    Addresses are compared, because a pod of the same name in another cluster has other addresses.
    """
    server = env.get("KUBERNETES_SERVICE_HOST")
    if not server:
        return None
    host = look(server)
    try:
        pod = _wait_for_addresses(kube, f"/api/v1/namespaces/{namespace}/pods/{host.name}")
    except KubeError:
        return None
    if not _list_addresses(pod) & host.addresses:
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def _wait_for_addresses(kube: KubeClient, path: str) -> Manifest:
    """Return the pod at ``path``, with its addresses if they become known in time. Raises KubeError."""
    deadline = time.monotonic() + _PATIENCE
    while not _list_addresses(pod := kube.get(path)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return pod


def _list_addresses(pod: Manifest) -> set[str]:
    return {address["ip"] for address in (pod.get("status") or {}).get("podIPs") or ()}
