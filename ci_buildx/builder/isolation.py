"""User namespaces (``hostUsers: false``): whether root in a builder's pods is unprivileged on their cluster nodes.

BuildKit is still privileged, but only within the pod's own user namespace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import Forbidden, InputError, Invalid
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import BuilderSettings, UserNamespaces

_ON_BY_DEFAULT = (1, 33)
"""First Kubernetes version that keeps the field by default (feature gate UserNamespacesSupport)."""

_ROOTLESS = "rootless: buildkitd is uid 1000 on its cluster node"
_INSIDE = "user namespace: root in the pod is an unprivileged user on its cluster node"
_ASKED = f"{_INSIDE}, as the cluster's policy requires"
ON_HOST = "no user namespace: privileged BuildKit is root on its cluster node"
_SOURCE = "driver-opt user-namespaces"
NEEDED = "need hostUsers: false"
"""Text in refusals, by the policies of docs/rbac, of privileged pods without a user namespace."""


def plan_isolation(planned: Plan, facts: ClusterFacts, settings: BuilderSettings) -> Plan:
    """Return the plan with the isolation of each node's pods from their hosts.

    Raises InputError if driver-opt user-namespaces is ``true`` and no fitting cluster node supports them.
    """
    return Plan(nodes=tuple(_plan_node_isolation(node, facts, settings) for node in planned.nodes))


def _plan_node_isolation(node: NodePlan, facts: ClusterFacts, settings: BuilderSettings) -> NodePlan:
    if settings.rootless:
        return replace(node, isolation=_ROOTLESS)
    if settings.user_namespaces is UserNamespaces.FALSE:
        return replace(node, isolation=f"{ON_HOST}: driver-opt user-namespaces=false")
    selector = dict(settings.nodeselector)
    if node.architecture:
        selector[labels.ARCHITECTURE] = node.architecture
    candidates = facts.select_fitting(selector, settings.tolerations)
    if settings.user_namespaces is UserNamespaces.TRUE:
        return _require_user_namespaces(node, candidates)
    if reason := _find_obstacle(candidates, facts, settings):
        return replace(node, isolation=f"{ON_HOST}: {reason}")
    return replace(node, user_namespace=True, isolation=_INSIDE)


def _require_user_namespaces(node: NodePlan, candidates: Sequence[KubeNode]) -> NodePlan:
    """Restrict the node to cluster nodes with user namespaces; if none is known, Kubernetes decides."""
    able = [fact for fact in candidates if fact.user_namespaces]
    if candidates and not able:
        names = ", ".join(fact.name for fact in candidates[:5])
        raise InputError(
            f"no suitable cluster node reports user namespaces: {names}",
            source=_SOURCE,
            fix="they require Linux 6.3, containerd 2 or CRI-O 1.25, and Kubernetes 1.33",
        )
    hosts = () if len(able) == len(candidates) else tuple(fact.labels.get(labels.HOSTNAME, fact.name) for fact in able)
    return replace(node, user_namespace=True, isolation=_INSIDE, hosts=hosts)


def _find_obstacle(candidates: Sequence[KubeNode], facts: ClusterFacts, settings: BuilderSettings) -> str:
    """Return why user namespaces cannot be used; "" if all cluster nodes that the pods may get support them."""
    if settings.qemu.install:
        # Since Linux 6.7 a user namespace can have its own emulators, but they are lost when binfmt_misc is unmounted
        # there, as the init container does (fs/binfmt_misc.c); and those of the cluster node are hidden from then on.
        return "driver-opt qemu.install registers emulators with the cluster node's kernel"
    if facts.nodes is None:
        return "listing cluster nodes is not allowed (docs/rbac/looking.yaml grants it)"
    if not candidates:
        return "no ready cluster node fits yet"
    unable = sum(not fact.user_namespaces or fact.kubelet < _ON_BY_DEFAULT for fact in candidates)
    if unable:
        return f"{unable} of {len(candidates)} cluster nodes report none"
    return ""


def is_required(refusal: Forbidden, nodes: Sequence[NodePlan], settings: BuilderSettings) -> bool:
    """Return whether a policy of docs/rbac refused privileged pods that would pass with user namespaces.

    False if the user disabled them, or if an option does not work with them.
    """
    is_open = settings.user_namespaces is UserNamespaces.AUTO and not settings.rootless and not settings.qemu.install
    return is_open and NEEDED in refusal.message and not all(node.user_namespace for node in nodes)


def require(node: NodePlan) -> NodePlan:
    """Return the node with a user namespace, regardless of what the cluster's nodes report."""
    return node if node.user_namespace else replace(node, user_namespace=True, isolation=_ASKED)


def correct_isolation(planned: Plan, created: Sequence[Mapping[str, Any]], settings: BuilderSettings) -> Plan:
    """Return the plan as the API server accepted it.

    An API server whose feature gate is off silently drops the field. Raises Invalid if the user requires user
    namespaces.
    """
    nodes = tuple(_correct_node(node, job) for node, job in zip(planned.nodes, created, strict=True))
    if nodes != planned.nodes and settings.user_namespaces is UserNamespaces.TRUE:
        raise Invalid(
            "user-namespaces=true: the API server drops hostUsers",
            status=422,
            fix="enable its feature gate UserNamespacesSupport, or omit the option",
        )
    return Plan(nodes=nodes)


def _correct_node(node: NodePlan, job: Mapping[str, Any]) -> NodePlan:
    if not node.user_namespace or job["spec"]["template"]["spec"].get("hostUsers") is False:
        return node
    return replace(node, user_namespace=False, isolation=f"{ON_HOST}: the API server drops hostUsers")
