"""Facts about the cluster that plans and manifests need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.errors import Forbidden, KubeError
from ci_buildx.kube.client import NEWEST_SERVER, KubeClient
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.builder import BuilderSettings, Toleration

_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
"""Taint of a cordoned cluster node (k8s.io/api v0.34.2, ``core/v1/well_known_taints.go``)."""
_BARRING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that keeps pods away from a cluster node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"

    def is_tolerated(self, tolerations: Iterable[Toleration]) -> bool:
        """Return whether one of ``tolerations`` matches the taint (k8s.io/api v0.34.2, ``core/v1/toleration.go``)."""
        return any(self._matches(one) for one in tolerations)

    def make_toleration(self) -> Toleration:
        """Return the toleration of exactly this taint."""
        return Toleration(key=self.key, operator="" if self.value else "Exists", value=self.value, effect=self.effect)

    def _matches(self, one: Toleration) -> bool:
        if one.effect and one.effect != self.effect:
            return False
        if one.key and one.key != self.key:
            return False
        if one.operator == "Exists":
            return True
        # An empty key matches all keys only with operator Exists.
        return one.operator in ("", "Equal") and one.key == self.key and one.value == self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeNode:
    """One cluster node.

    ``usable``: it runs Linux and is ready. ``taints`` are those that keep away pods without a matching toleration;
    ``cordoned`` nodes accept only pods that also tolerate the unschedulable taint. ``user_namespaces``: the cluster
    node reports that its runtime supports them. ``kubelet`` is its version (major, minor), ``ranges`` are the CIDRs of
    its pods.
    """

    name: str
    architecture: str
    usable: bool = True
    cordoned: bool = False
    taints: tuple[Taint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    user_namespaces: bool = False
    kubelet: tuple[int, int] = (0, 0)
    ranges: tuple[str, ...] = ()

    def has_labels(self, nodeselector: Mapping[str, str]) -> bool:
        """Return whether the cluster node has all labels of ``nodeselector``."""
        return all(self.labels.get(key) == value for key, value in nodeselector.items())

    def list_obstacles(self, tolerations: Sequence[Toleration]) -> list[Taint]:
        """Return the taints that ``tolerations`` do not tolerate, including the one of a cordoned cluster node."""
        taints = [*self.taints, *([Taint(_UNSCHEDULABLE)] if self.cordoned else [])]
        return [taint for taint in taints if not taint.is_tolerated(tolerations)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """Known cluster nodes; ``nodes`` is None if the caller is not allowed to list them."""

    nodes: tuple[KubeNode, ...] | None = None

    def select_fitting(self, nodeselector: Mapping[str, str], tolerations: Sequence[Toleration] = ()) -> list[KubeNode]:
        """Return usable Linux cluster nodes that can run a pod with this selector and these tolerations."""
        return [
            node
            for node in self.nodes or ()
            if node.usable and node.has_labels(nodeselector) and not node.list_obstacles(tolerations)
        ]

    def count(self, nodeselector: Mapping[str, str], tolerations: Sequence[Toleration] = ()) -> dict[str, int]:
        """Return the number of fitting cluster nodes by architecture."""
        counted: dict[str, int] = {}
        for node in self.select_fitting(nodeselector, tolerations):
            counted[node.architecture] = counted.get(node.architecture, 0) + 1
        return counted

    def explain_none(
        self, architecture: str, nodeselector: Mapping[str, str], tolerations: Sequence[Toleration] = ()
    ) -> str:
        """Return one log line on why no cluster node of ``architecture`` accepts the pods."""
        there = [node for node in self.nodes or () if node.architecture == architecture]
        if not there:
            return f"the cluster has no {architecture} node"
        chosen = [node for node in there if node.has_labels(nodeselector)]
        if not chosen:
            return f"driver-opt nodeselector excludes the {architecture} nodes ({_join_first(there)})"
        ready = [node for node in chosen if node.usable]
        if not ready:
            return f"no {architecture} node is ready ({_join_first(chosen)})"
        open_ones = [node for node in ready if not node.cordoned]
        if not open_ones:
            return f"the {architecture} nodes are cordoned ({_join_first(ready)})"
        # Suggest the cluster node that needs the fewest tolerations.
        node = min(open_ones, key=lambda one: len(one.list_obstacles(tolerations)))
        missing = node.list_obstacles(tolerations)
        # One option for all, also those given: of two with the same name, the later one counts.
        wanted = ";".join(map(str, [*tolerations, *(taint.make_toleration() for taint in missing)]))
        taints = ", ".join(map(str, missing))
        return (
            f"cluster node {node.name} is reserved by taint {taints}: "
            f"tolerate it with --driver-opt '\"tolerations={wanted}\"'"
        )


def read_cluster_facts(kube: KubeClient) -> ClusterFacts:
    """Read the cluster's nodes.

    If listing them is forbidden, ``nodes`` of the result is None. Raises every other KubeError.
    """
    try:
        listed = kube.list("/api/v1/nodes", resourceVersion="0")
    except Forbidden:
        return ClusterFacts()
    return ClusterFacts(nodes=tuple(read_node(node) for node in listed["items"]))


def read_node(node: Mapping[str, Any]) -> KubeNode:
    """Return the facts in a Node object."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    marks = metadata.get("labels") or {}
    system = status.get("nodeInfo") or {}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    taints = [Taint(taint["key"], taint.get("value") or "", taint["effect"]) for taint in spec.get("taints") or ()]
    linux = marks.get("kubernetes.io/os", system.get("operatingSystem", "linux")) == "linux"
    return KubeNode(
        name=metadata["name"],
        architecture=marks.get(ARCHITECTURE) or system.get("architecture", ""),
        usable=linux and conditions.get("Ready") == "True",
        cordoned=bool(spec.get("unschedulable")),
        taints=tuple(taint for taint in taints if taint.effect in _BARRING and taint.key != _UNSCHEDULABLE),
        labels=marks,
        user_namespaces=_has_user_namespaces(status),
        kubelet=parse_minor_version(system.get("kubeletVersion", "")),
        ranges=tuple(spec.get("podCIDRs") or ()),
    )


def _join_first(nodes: Sequence[KubeNode]) -> str:
    """Join the names of the first three cluster nodes."""
    return ", ".join(node.name for node in nodes[:3]) + (", …" if len(nodes) > 3 else "")


def parse_minor_version(text: str) -> tuple[int, int]:
    """Return major and minor version, (1, 34) for ``v1.34.2-gke.1``; (0, 0) for an invalid version."""
    match = re.match(r"v?(\d{1,9})\.(\d{1,9})", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _has_user_namespaces(status: Mapping[str, Any]) -> bool:
    """Return whether the default runtime handler, whose name is empty, reports user namespaces.

    Source: k8s.io/api v0.34.2, NodeRuntimeHandler.
    """
    handlers = status.get("runtimeHandlers") or ()
    return any(
        not handler.get("name") and (handler.get("features") or {}).get("userNamespaces") for handler in handlers
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSurroundings:
    """API server and addresses of the cluster.

    ``server`` is the API server's version (major, minor), ``ranges`` are the CIDRs of services and pods, as far as
    known.
    """

    server: tuple[int, int] = NEWEST_SERVER
    ranges: tuple[str, ...] = ()


def read_surroundings(kube: KubeClient, facts: ClusterFacts, settings: BuilderSettings) -> ClusterSurroundings:
    """Read only those facts about the cluster that the settings depend on. Raises KubeError."""
    # The version determines how a profile is named; a privileged container has none.
    server = (
        parse_minor_version(str(kube.get("/version").get("gitVersion", ""))) if settings.rootless else NEWEST_SERVER
    )
    return ClusterSurroundings(server=server, ranges=_read_ranges(kube, facts) if settings.proxy else ())


def _read_ranges(kube: KubeClient, facts: ClusterFacts) -> tuple[str, ...]:
    try:
        listed = kube.list("/apis/networking.k8s.io/v1/servicecidrs")["items"]
    except KubeError:
        # The API has ServiceCIDRs since Kubernetes 1.33.
        listed = []
    return list_ranges(listed, facts)


def list_ranges(service_ranges: Sequence[Mapping[str, Any]], facts: ClusterFacts) -> tuple[str, ...]:
    """Return the CIDRs of services (from ServiceCIDR objects) and of pods (from their cluster nodes)."""
    services = [cidr for item in service_ranges for cidr in (item.get("spec") or {}).get("cidrs") or ()]
    pods = [cidr for node in facts.nodes or () for cidr in node.ranges]
    return (*services, *_collapse_ranges(pods))


def _collapse_ranges(ranges: Iterable[str]) -> list[str]:
    """Merge adjacent ranges: each of a thousand cluster nodes has one of its own. Raises KubeError for another text."""
    import ipaddress

    try:
        networks = [ipaddress.ip_network(text) for text in ranges]
    except ValueError as error:
        raise KubeError(f"the cluster nodes' spec.podCIDRs: {error}") from error
    fours = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    sixes = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*map(str, ipaddress.collapse_addresses(fours)), *map(str, ipaddress.collapse_addresses(sixes))]
