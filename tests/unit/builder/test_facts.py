import shlex
from typing import Any

import pytest

from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode, read_node
from ci_buildx.model.masker import mask_secrets
from ci_buildx.settings.builder import Toleration
from ci_buildx.settings.driver_opts.parse import parse_driver_opts

NODE: dict[str, Any] = {
    "metadata": {"name": "n1", "labels": {"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux"}},
    "spec": {},
    "status": {"nodeInfo": {"architecture": "arm64"}, "conditions": [{"type": "Ready", "status": "True"}]},
}


def test_a_ready_node_is_usable() -> None:
    assert (read_node(NODE).architecture, read_node(NODE).usable) == ("arm64", True)


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
        {"status": {}},
        {"metadata": {"name": "w1", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "windows"}}},
    ],
)
def test_nodes_that_take_no_pod_of_ours(change: dict[str, Any]) -> None:
    assert not read_node({**NODE, **change}).usable


def node(taints: list[dict[str, str]], **spec: Any) -> KubeNode:
    return read_node({**NODE, "spec": {"taints": taints, **spec}})


ARM = {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"}
TOLERATED_ARM = "effect=NoSchedule,value=arm64,key=kubernetes.io/arch"
TOLERATE_ARM = f"""--driver-opt '"tolerations={TOLERATED_ARM}"'"""
RESERVED = {"key": "reserved", "effect": "NoExecute"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("taints", "tolerations", "fits"),
    [
        ([], [], True),
        ([{"key": "k", "effect": "PreferNoSchedule"}], [], True),
        ([ARM], [], False),
        ([ARM], [Toleration(key="kubernetes.io/arch", value="arm64", effect="NoSchedule")], True),
        ([ARM], [Toleration(key="kubernetes.io/arch", operator="Equal", value="arm64")], True),
        ([ARM], [Toleration(key="kubernetes.io/arch", operator="Exists")], True),
        ([ARM], [Toleration(operator="Exists")], True),
        ([ARM], [Toleration(operator="Exists", effect="NoSchedule")], True),
        ([ARM], [Toleration(operator="Exists", effect="NoExecute")], False),
        ([ARM], [Toleration(key="kubernetes.io/arch", value="amd64")], False),
        ([ARM], [Toleration(key="kubernetes.io/arch")], False),
        ([ARM], [Toleration(key="other", operator="Exists")], False),
        ([ARM], [Toleration(value="arm64")], False),
        ([ARM, NOT_READY], [Toleration(key="kubernetes.io/arch", operator="Exists")], False),
        ([ARM, NOT_READY], [Toleration(operator="Exists", seconds=300)], True),
    ],
)
def test_a_tainted_node_fits_who_tolerates_all_its_taints(
    taints: list[dict[str, str]], tolerations: list[Toleration], fits: bool
) -> None:
    assert bool(ClusterFacts(nodes=(node(taints),)).select_fitting({}, tolerations)) is fits


@pytest.mark.parametrize("taints", [[], [CORDON]])
def test_a_cordoned_node_takes_only_who_tolerates_that(taints: list[dict[str, str]]) -> None:
    facts = ClusterFacts(nodes=(node(taints, unschedulable=True),))
    assert not facts.select_fitting({})
    assert facts.select_fitting({}, [Toleration(key=CORDON["key"], operator="Exists")])


@pytest.mark.parametrize(
    ("fact", "architecture", "selector", "why"),
    [
        (node([]), "amd64", {}, "the cluster has no amd64 node"),
        (node([]), "arm64", {"pool": "ci"}, "driver-opt nodeselector excludes the arm64 nodes (n1)"),
        (read_node({**NODE, "status": {}}), "arm64", {}, "no arm64 node is ready (n1)"),
        (node([], unschedulable=True), "arm64", {}, "the arm64 nodes are cordoned (n1)"),
        (
            node([ARM]),
            "arm64",
            {},
            (
                "cluster node n1 is reserved by taint kubernetes.io/arch=arm64:NoSchedule: "
                f"tolerate it with {TOLERATE_ARM}"
            ),
        ),
    ],
)
def test_why_no_node_of_an_architecture_takes_the_pods(
    fact: KubeNode, architecture: str, selector: dict[str, str], why: str
) -> None:
    assert ClusterFacts(nodes=(fact,)).explain_none(architecture, selector) == why


def test_what_is_advised_tolerates_all_taints_of_the_node_in_one_option_with_those_given() -> None:
    """Of two driver-opts with the same name, the later one counts."""
    given = (Toleration(operator="Exists", key="other"), Toleration(operator="Exists", effect="NoExecute", seconds=9))
    facts = ClusterFacts(nodes=(node([ARM, {"key": "more", "effect": "NoSchedule"}, RESERVED]),))
    why = facts.explain_none("arm64", {}, given[:1])
    assert why.startswith(
        "cluster node n1 is reserved by taint kubernetes.io/arch=arm64:NoSchedule, more:NoSchedule, reserved:"
    )
    assert mask_secrets(why, ()) == why
    (flag, option) = shlex.split(why.partition("tolerate it with ")[2])
    assert flag == "--driver-opt"
    tolerations = parse_driver_opts([option], source="--driver-opt", env={}).tolerations
    assert tolerations[0] == given[0]
    assert facts.count({}, tolerations) == {"arm64": 1}
    written = f'"tolerations={";".join(map(str, given))}"'
    assert parse_driver_opts([written], source="--driver-opt", env={}).tolerations == given


def test_without_labels_the_kubelet_says_the_architecture() -> None:
    assert read_node({**NODE, "metadata": {"name": "n1"}}).architecture == "arm64"


def test_count_by_selector() -> None:
    facts = ClusterFacts(nodes=(read_node(NODE),))
    assert facts.count({}) == {"arm64": 1}
    assert facts.count({"kubernetes.io/os": "linux"}) == {"arm64": 1}
    assert facts.count({"disk": "ssd"}) == {}
