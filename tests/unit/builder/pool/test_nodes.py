"""Cordoned cluster nodes: asked seldom, and not at all without the right."""

from __future__ import annotations

from ci_buildx.builder.pool.nodes import FRESH, CordonedNodes
from tests.unit.builder.pool.samples import connect
from tests.unit.memory_cluster import MemoryCluster

NODE = "/api/v1/nodes/worker-arm64"


def cordon(cluster: MemoryCluster) -> None:
    cluster.put(NODE, cluster.objects[NODE] | {"spec": {"unschedulable": True}})


def test_an_answer_is_used_for_a_while(memory_cluster: MemoryCluster) -> None:
    moment = [100.0]
    nodes = CordonedNodes(connect(memory_cluster), lambda: moment[0])
    assert nodes.list_names() == frozenset()
    cordon(memory_cluster)
    moment[0] += FRESH / 2
    assert nodes.list_names() == frozenset()
    moment[0] += FRESH
    assert nodes.list_names() == {"worker-arm64"}
    assert memory_cluster.asked == ["GET /api/v1/nodes"] * 2


def test_a_failure_keeps_the_last_answer(memory_cluster: MemoryCluster) -> None:
    moment = [100.0]
    cordon(memory_cluster)
    nodes = CordonedNodes(connect(memory_cluster), lambda: moment[0])
    assert nodes.list_names() == {"worker-arm64"}
    memory_cluster.refuse("GET", "/nodes$", status=400, reason="BadRequest")
    moment[0] += 2 * FRESH
    assert nodes.list_names() == {"worker-arm64"}


def test_without_the_right_they_are_unknown(memory_cluster: MemoryCluster) -> None:
    moment = [100.0]
    cordon(memory_cluster)
    memory_cluster.refuse("GET", "/nodes$")
    nodes = CordonedNodes(connect(memory_cluster), lambda: moment[0])
    for _ in range(3):
        assert nodes.list_names() == frozenset()
        moment[0] += 2 * FRESH
    assert memory_cluster.asked == ["GET /api/v1/nodes"]
