"""What a plan needs to know about the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFact:
    """One node of the cluster. ``usable``: ready, not cordoned, without a taint that keeps ordinary pods away."""

    name: str
    architecture: str
    usable: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """``nodes`` is None where the caller may not list them."""

    nodes: tuple[NodeFact, ...] | None = None

    def count(self, nodeselector: Mapping[str, str]) -> dict[str, int]:
        """Usable Linux nodes by architecture that a pod with this selector may be scheduled to."""
        counted: dict[str, int] = {}
        for node in self.nodes or ():
            if node.usable and all(node.labels.get(key) == value for key, value in nodeselector.items()):
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
    )
