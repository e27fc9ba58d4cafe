"""Where root in the pods is nobody on the node, and what the log says of it."""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.builder import isolation, plan
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode, read_node
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.rbac import roles
from ci_buildx.builder.rbac.rights import RightsMode
from ci_buildx.errors import Forbidden, InputError, Invalid
from ci_buildx.model import platform
from ci_buildx.settings.builder import BuilderSettings, Qemu, UserNamespaces

AMD64 = [platform.parse_platform("linux/amd64")]
HOST = "no user namespace: privileged BuildKit is root on its cluster node"
INSIDE = "user namespace: root in the pod is an unprivileged user on its cluster node"


def fact(name: str, **rest: Any) -> KubeNode:
    usual: dict[str, Any] = {"user_namespaces": True, "kubelet": (1, 34)}
    return KubeNode(name=name, architecture="amd64", labels={"kubernetes.io/arch": "amd64"}, **{**usual, **rest})


def isolated(facts: ClusterFacts, **settings: Any) -> NodePlan:
    builder = BuilderSettings(**settings)
    (node,) = isolation.plan_isolation(plan.make_plan(AMD64, facts, builder), facts, builder).nodes
    return node


ABLE, UNABLE = fact("able"), fact("unable", user_namespaces=False)


@pytest.mark.parametrize(
    ("nodes", "settings", "inside", "line"),
    [
        ((ABLE, fact("able-2")), {}, True, INSIDE),
        ((ABLE, UNABLE), {}, False, f"{HOST}: 1 of 2 cluster nodes report none"),
        ((ABLE, fact("cordoned", user_namespaces=False, usable=False)), {}, True, INSIDE),
        ((fact("old", kubelet=(1, 32)),), {}, False, f"{HOST}: 1 of 1 cluster nodes report none"),
        ((), {}, False, f"{HOST}: no ready cluster node fits yet"),
        (None, {}, False, f"{HOST}: listing cluster nodes is not allowed (docs/rbac/looking.yaml grants it)"),
        (None, {"user_namespaces": UserNamespaces.TRUE}, True, INSIDE),
        ((ABLE,), {"user_namespaces": UserNamespaces.FALSE}, False, f"{HOST}: driver-opt user-namespaces=false"),
        ((ABLE,), {"rootless": True}, False, "rootless: buildkitd is uid 1000 on its cluster node"),
        (
            (ABLE,),
            {"qemu": Qemu(install=True)},
            False,
            f"{HOST}: driver-opt qemu.install registers emulators with the cluster node's kernel",
        ),
    ],
)
def test_what_the_nodes_report_decides(
    nodes: tuple[KubeNode, ...] | None, settings: dict[str, Any], inside: bool, line: str
) -> None:
    node = isolated(ClusterFacts(nodes=nodes), **settings)
    assert (node.user_namespace, node.isolation, node.hosts) == (inside, line, ())


def test_who_insists_gets_the_nodes_that_can() -> None:
    node = isolated(ClusterFacts(nodes=(UNABLE, ABLE)), user_namespaces=UserNamespaces.TRUE)
    assert (node.user_namespace, node.hosts) == (True, ("able",))


def test_where_no_node_can_who_insists_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        isolated(ClusterFacts(nodes=(UNABLE,)), user_namespaces=UserNamespaces.TRUE)
    assert str(caught.value) == (
        "driver-opt user-namespaces: no suitable cluster node reports user namespaces: unable; "
        "they require Linux 6.3, containerd 2 or CRI-O 1.25, and Kubernetes 1.33"
    )


def test_a_server_that_drops_the_field_is_believed() -> None:
    facts = ClusterFacts(nodes=(ABLE,))
    planned = isolation.plan_isolation(plan.make_plan(AMD64, facts, BuilderSettings()), facts, BuilderSettings())
    created: list[dict[str, Any]] = [{"spec": {"template": {"spec": {}}}}]
    (node,) = isolation.correct_isolation(planned, created, BuilderSettings()).nodes
    assert (node.user_namespace, node.isolation) == (False, f"{HOST}: the API server drops hostUsers")
    with pytest.raises(
        Invalid, match="drops hostUsers; enable its feature gate UserNamespacesSupport, or omit the option"
    ):
        isolation.correct_isolation(planned, created, BuilderSettings(user_namespaces=UserNamespaces.TRUE))
    kept = [{"spec": {"template": {"spec": {"hostUsers": False}}}}]
    assert isolation.correct_isolation(planned, kept, BuilderSettings()) == planned


def test_what_a_node_reports() -> None:
    handlers = [
        {"name": "", "features": {"userNamespaces": True}},
        {"name": "kata", "features": {"userNamespaces": False}},
    ]
    system = {"kubeletVersion": "v1.34.2-gke.1"}
    node = read_node(
        {
            "metadata": {"name": "n"},
            "spec": {"podCIDRs": ["10.1.0.0/24"]},
            "status": {"runtimeHandlers": handlers, "nodeInfo": system},
        }
    )
    assert (node.user_namespaces, node.kubelet) == (True, (1, 34))
    assert node.ranges == ("10.1.0.0/24",)
    assert not read_node({"metadata": {"name": "n"}, "status": {}}).user_namespaces


@pytest.mark.parametrize(
    ("settings", "said", "required"),
    [
        ({}, isolation.NEEDED, True),
        ({}, "exceeded quota", False),
        ({"user_namespaces": UserNamespaces.FALSE}, isolation.NEEDED, False),
        ({"rootless": True}, isolation.NEEDED, False),
        ({"qemu": Qemu(install=True)}, isolation.NEEDED, False),
    ],
)
def test_a_policy_that_requires_user_namespaces_decides_where_nobody_else_did(
    settings: dict[str, Any], said: str, required: bool
) -> None:
    facts = ClusterFacts(nodes=())
    node, refusal = isolated(facts, **settings), Forbidden(f"privileged containers {said}", status=403)
    assert isolation.is_required(refusal, (node,), BuilderSettings(**settings)) is required
    confined = isolation.require(node)
    assert (confined.user_namespace, confined.isolation) == (True, f"{INSIDE}, as the cluster's policy requires")
    assert not isolation.is_required(refusal, (confined,), BuilderSettings(**settings))


def test_the_policies_say_what_is_looked_for() -> None:
    assert isolation.NEEDED in roles.render_roles(RightsMode.JOBS).replace("\n      ", " ")
