from typing import Any

import pytest

from ci_buildx.builder.facts import ClusterFacts, read_node

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
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
        {"status": {}},
        {"metadata": {"name": "w1", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "windows"}}},
    ],
)
def test_nodes_that_take_no_pod_of_ours(change: dict[str, Any]) -> None:
    assert not read_node({**NODE, **change}).usable


def test_a_preference_is_no_obstacle() -> None:
    taints = [{"key": "k", "effect": "PreferNoSchedule"}]
    assert read_node({**NODE, "spec": {"taints": taints}}).usable


def test_without_labels_the_kubelet_says_the_architecture() -> None:
    assert read_node({**NODE, "metadata": {"name": "n1"}}).architecture == "arm64"


def test_count_by_selector() -> None:
    facts = ClusterFacts(nodes=(read_node(NODE),))
    assert facts.count({}) == {"arm64": 1}
    assert facts.count({"kubernetes.io/os": "linux"}) == {"arm64": 1}
    assert facts.count({"disk": "ssd"}) == {}
