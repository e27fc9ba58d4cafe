"""Health checks of a cluster from outside."""

import socket
import ssl
import struct
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import configuration, namespaces, processes, programs, registry, services
from devcluster.api import Api
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster, Node

DNS_QUESTION = f"kubernetes.default.svc.{configuration.DOMAIN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result for one part of the cluster: `fault` is empty if it is healthy; `note` names what the cluster lacks."""

    part: str
    fault: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.part}: {self.fault or self.note or 'ok'}"


def findings(cluster: Cluster) -> list[Finding]:
    """Check every part."""
    if not namespaces.exist(cluster):
        return [Finding(part="namespaces", fault="absent: the cluster is not up")]
    return [
        *(
            Finding(part=service.name, fault="" if processes.running(cluster, service.name) else "no process")
            for service in services.every(cluster)
        ),
        *registry_findings(cluster),
        *api_findings(cluster),
        check_dns(cluster),
    ]


def registry_findings(cluster: Cluster) -> list[Finding]:
    """Check whether each registry answers."""
    return [
        Finding(part=f"{server.name} by HTTP", fault="" if answers(server) else "no answer")
        for server in services.servers(cluster)
    ]


def answers(server: registry.Service) -> bool:
    """Return whether a registry or its token server answers."""
    return serves(server.ready_url, server.ca_file)


def serves(url: str, authority: Path | None = None) -> bool:
    """Return whether a server answers at the URL, even with 401. The caller's proxies are ignored."""
    trust = ssl.create_default_context(cafile=str(authority)) if authority else None
    direct = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=trust))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError:
        return False
    return True


def listens(path: Path) -> bool:
    """Return whether a process accepts connections on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as channel:
        return channel.connect_ex(str(path)) == 0


def api_findings(cluster: Cluster) -> list[Finding]:
    """Check the API server, the cluster nodes, and whether pods can be created."""
    api = Api(cluster)
    if not api.ready():
        return [Finding(part="api", fault="not ready")]
    try:
        nodes = [Finding(part=f"node {node.name}", fault=node_fault(api, node)) for node in cluster.nodes]
        account = api.get("/api/v1/namespaces/default/serviceaccounts/default")
    except (OSError, DevclusterError) as error:
        return [Finding(part="api", fault=str(error))]
    accounts = Finding(part="default service account", fault="" if account else "absent")
    return [Finding(part="api", fault=""), *nodes, accounts]


def node_fault(api: Api, node: Node) -> str:
    """Return why a cluster node cannot take pods of its architecture, or "".

    The kubelet is checked directly too: the API server considers a dead one ready for 40 s.
    """
    if not serves(f"http://{node.address}:{configuration.KUBELET_HEALTH_PORT}/healthz"):
        return "its kubelet does not answer"
    found: Any = api.get(f"/api/v1/nodes/{node.name}")
    if not found:
        return "not registered"
    label = found["metadata"]["labels"].get("kubernetes.io/arch")
    system = found["status"]["nodeInfo"]["architecture"]
    if (label, system) != (node.architecture, node.architecture):
        return f"architecture is {label} by label, {system} by status, not {node.architecture}"
    ready = [condition for condition in found["status"].get("conditions", []) if condition["type"] == "Ready"]
    if not ready or ready[0]["status"] != "True":
        return f"not ready: {ready[0]['message'] if ready else 'no word from its kubelet'}"
    taints = [taint["key"] for taint in found["spec"].get("taints", [])]
    return f"tainted {', '.join(taints)}" if taints else ""


def check_dns(cluster: Cluster) -> Finding:
    """Check the DNS of pods, unless CoreDNS is not built."""
    if not programs.is_built("coredns"):
        return Finding(part="dns", fault="", note="left out: `python -m devcluster up` without --small adds it")
    return Finding(part="dns", fault=dns_fault(cluster))


def dns_fault(cluster: Cluster) -> str:
    """Query the API server's service at the DNS service's address, which tests CoreDNS and kube-proxy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1)
        try:
            channel.sendto(dns_query(DNS_QUESTION), (str(cluster.dns_service), 53))
            answer = channel.recv(512)
        except OSError as error:
            return f"no answer ({error})"
    return "" if answer.endswith(cluster.api_service.packed) else f"does not know {DNS_QUESTION}"


def dns_query(name: str) -> bytes:
    """Encode a question for an address (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 0x6B62, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
