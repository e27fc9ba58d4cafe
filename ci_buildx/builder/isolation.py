"""Whether root in a builder's pods is nobody on their nodes: Kubernetes' user namespaces (``hostUsers: false``).

BuildKit is privileged there as everywhere, but what it may do ends at the pod's own user namespace.
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
"""From this Kubernetes on the field is not dropped (feature gate UserNamespacesSupport)."""

_ROOTLESS = "rootless: buildkitd is uid 1000 on its node"
_INSIDE = "user namespace: root in the pod is nobody on its node"
_ASKED = f"{_INSIDE}, as the cluster's policy requires"
_HOST = "no user namespace: privileged BuildKit is root on its node"
_SOURCE = "driver-opt user-namespaces"
NEEDED = "need hostUsers: false"
"""What the policies of docs/rbac say about privileged pods without a user namespace."""


def plan_isolation(planned: Plan, facts: ClusterFacts, settings: BuilderSettings) -> Plan:
    """The plan with what each node's pods are on their hosts. Raises InputError where ``true`` cannot be had."""
    return Plan(nodes=tuple(_plan_node_isolation(node, facts, settings) for node in planned.nodes))


def _plan_node_isolation(node: NodePlan, facts: ClusterFacts, settings: BuilderSettings) -> NodePlan:
    if settings.rootless:
        return replace(node, isolation=_ROOTLESS)
    if settings.user_namespaces is UserNamespaces.FALSE:
        return replace(node, isolation=f"{_HOST}: driver-opt user-namespaces=false")
    selector = dict(settings.nodeselector)
    if node.architecture:
        selector[labels.ARCHITECTURE] = node.architecture
    candidates = facts.select_fitting(selector, settings.tolerations)
    if settings.user_namespaces is UserNamespaces.TRUE:
        return _require_user_namespaces(node, candidates)
    if reason := _find_obstacle(candidates, facts, settings):
        return replace(node, isolation=f"{_HOST}: {reason}")
    return replace(node, user_namespace=True, isolation=_INSIDE)


def _require_user_namespaces(node: NodePlan, candidates: Sequence[KubeNode]) -> NodePlan:
    """On the nodes that can. Where none is known, Kubernetes will say."""
    able = [fact for fact in candidates if fact.user_namespaces]
    if candidates and not able:
        names = ", ".join(fact.name for fact in candidates[:5])
        raise InputError(
            f"no node that fits reports user namespaces: {names}",
            source=_SOURCE,
            fix="they need Linux 6.3, containerd 2 or CRI-O 1.25, and Kubernetes 1.33",
        )
    hosts = () if len(able) == len(candidates) else tuple(fact.labels.get(labels.HOSTNAME, fact.name) for fact in able)
    return replace(node, user_namespace=True, isolation=_INSIDE, hosts=hosts)


def _find_obstacle(candidates: Sequence[KubeNode], facts: ClusterFacts, settings: BuilderSettings) -> str:
    """Why not, "" if nothing is in the way on any node that the pods may get."""
    if settings.qemu.install:
        # Linux 6.7 keeps emulators of a user namespace's own, but forgets them when binfmt_misc is unmounted there, as
        # the init container does (fs/binfmt_misc.c); and those of the node are hidden from then on.
        return "driver-opt qemu.install registers emulators with the node's kernel"
    if facts.nodes is None:
        return "listing nodes is not allowed (docs/rbac/looking.yaml lets it)"
    if not candidates:
        return "no ready node fits yet"
    unable = sum(not fact.user_namespaces or fact.kubelet < _ON_BY_DEFAULT for fact in candidates)
    if unable:
        return f"{unable} of {len(candidates)} nodes report none"
    return ""


def is_required(refusal: Forbidden, nodes: Sequence[NodePlan], settings: BuilderSettings) -> bool:
    """Return whether a policy of docs/rbac refused privileged pods that user namespaces would make acceptable.

    False if the user decided against them, or if an option cannot work in them.
    """
    is_open = settings.user_namespaces is UserNamespaces.AUTO and not settings.rootless and not settings.qemu.install
    return is_open and NEEDED in refusal.message and not all(node.user_namespace for node in nodes)


def require(node: NodePlan) -> NodePlan:
    """Return the node with a user namespace, whatever is known of the cluster's nodes."""
    return node if node.user_namespace else replace(node, user_namespace=True, isolation=_ASKED)


def correct_isolation(planned: Plan, created: Sequence[Mapping[str, Any]], settings: BuilderSettings) -> Plan:
    """The plan as the API server took it: one whose feature gate is off drops the field, silently.

    Raises Invalid where user namespaces were insisted on.
    """
    nodes = tuple(_correct_node(node, job) for node, job in zip(planned.nodes, created, strict=True))
    if nodes != planned.nodes and settings.user_namespaces is UserNamespaces.TRUE:
        raise Invalid(
            "user-namespaces=true: the API server drops hostUsers",
            status=422,
            fix="its feature gate UserNamespacesSupport is off",
        )
    return Plan(nodes=nodes)


def _correct_node(node: NodePlan, job: Mapping[str, Any]) -> NodePlan:
    if not node.user_namespace or job["spec"]["template"]["spec"].get("hostUsers") is False:
        return node
    return replace(node, user_namespace=False, isolation=f"{_HOST}: the API server drops hostUsers")
