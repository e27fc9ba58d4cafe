"""The pod that this process runs in, where it is one of the cluster's own: the builder can be made to go with it.

Owners do not reach across namespaces (Kubernetes' documentation, "Owners and dependents"): a pod can own only what is
in its own namespace.
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
"""Seconds that the address of a pod that has just begun may take to be known: a kubelet tells it after it has started
the containers, and one that is busy, late."""
_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHost:
    """What this machine is called, and its IP addresses."""

    name: str
    addresses: frozenset[str]


def read_host(towards: str) -> RunnerHost:
    """In a pod, the pod's name, and its IP address as the host ``towards`` (an IP address) would see it.

    Resolving the own name instead would ask DNS alone in images without an ``nsswitch.conf``.
    """
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect((towards, 9))  # chooses the way there, and sends nothing
        except OSError:
            return RunnerHost(name=socket.gethostname(), addresses=frozenset())
        return RunnerHost(name=socket.gethostname(), addresses=frozenset((channel.getsockname()[0],)))


def find_own_pod(
    kube: KubeClient, namespace: str, env: Mapping[str, str], *, look: Callable[[str], RunnerHost] = read_host
) -> dict[str, str] | None:
    """A reference to the pod that this process runs in, as an owner; None where it runs in no pod of ``namespace``.

    A pod of the same name in another cluster has other addresses.
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
    """The pod at ``path``, with its addresses if they become known in time. Raises KubeError."""
    deadline = time.monotonic() + _PATIENCE
    while not _list_addresses(pod := kube.get(path)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return pod


def _list_addresses(pod: Manifest) -> set[str]:
    return {address["ip"] for address in (pod.get("status") or {}).get("podIPs") or ()}
