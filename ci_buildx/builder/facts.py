"""What a plan needs to know about the cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFact:
    """One node of the cluster.

    ``usable``: ready, not cordoned, without a taint that keeps ordinary pods away. ``user_namespaces``: it reports that
    its runtime can. ``kubelet`` is its minor version, ``ranges`` are the addresses of its pods.
    """

    name: str
    architecture: str
    usable: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    user_namespaces: bool = False
    kubelet: tuple[int, int] = (0, 0)
    ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """``nodes`` is None where the caller may not list them."""

    nodes: tuple[NodeFact, ...] | None = None

    def fitting(self, nodeselector: Mapping[str, str]) -> list[NodeFact]:
        """Usable Linux nodes that a pod with this selector may be scheduled to."""
        wanted = nodeselector.items()
        return [
            node
            for node in self.nodes or ()
            if node.usable and all(node.labels.get(key) == value for key, value in wanted)
        ]

    def count(self, nodeselector: Mapping[str, str]) -> dict[str, int]:
        """How many of them there are of each architecture."""
        counted: dict[str, int] = {}
        for node in self.fitting(nodeselector):
            counted[node.architecture] = counted.get(node.architecture, 0) + 1
        return counted


def gather(kube: KubeClient) -> ClusterFacts:
    """Ask the cluster. Being forbidden to list nodes is a fact, too; every other KubeError is raised."""
    try:
        listed = kube.list("/api/v1/nodes", resourceVersion="0")
    except Forbidden:
        return ClusterFacts()
    return ClusterFacts(nodes=tuple(read_node(node) for node in listed["items"]))


def read_node(node: Mapping[str, Any]) -> NodeFact:
    """The facts of one Node object."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    marks = metadata.get("labels") or {}
    system = status.get("nodeInfo") or {}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    barred = any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in spec.get("taints") or ())
    linux = marks.get("kubernetes.io/os", system.get("operatingSystem", "linux")) == "linux"
    return NodeFact(
        name=metadata["name"],
        architecture=marks.get(ARCHITECTURE) or system.get("architecture", ""),
        usable=linux and conditions.get("Ready") == "True" and not spec.get("unschedulable") and not barred,
        labels=marks,
        user_namespaces=_has_user_namespaces(status),
        kubelet=minor_version(system.get("kubeletVersion", "")),
        ranges=tuple(spec.get("podCIDRs") or ()),
    )


def minor_version(text: str) -> tuple[int, int]:
    """``v1.34.2-gke.1`` as 1 and 34; zeros for what is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _has_user_namespaces(status: Mapping[str, Any]) -> bool:
    """What the runtime's default handler, whose name is empty, reports (k8s.io/api v0.34.2, NodeRuntimeHandler)."""
    handlers = status.get("runtimeHandlers") or ()
    return any(
        not handler.get("name") and (handler.get("features") or {}).get("userNamespaces") for handler in handlers
    )
