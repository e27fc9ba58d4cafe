"""Idle pods of elastic builders: one builder that cannot be read keeps no other's pods."""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Workload
from ci_buildx.builder.lifecycle.records import read_node
from ci_buildx.manage.reap import remove_idle_pods, run_reap
from ci_buildx.settings.builder import MOST_BUILDS
from tests.unit.builder.pool.samples import connect
from tests.unit.memory_cluster import Manifest, MemoryCluster

DEPLOYMENTS = "/apis/apps/v1/namespaces/ci/deployments"


def make_deployment(name: str) -> Manifest:
    """A node of an elastic builder, without the Secret that belongs to it."""
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: name, labels.NODE: f"{name}0"}
    notes = {labels.REPLICA_RANGE: "0..4", labels.IDLE_TIMEOUT: "1s", labels.MAX_BUILDS: "999999999"}
    metadata = {"name": f"{name}0", "namespace": "ci", "labels": marks, "annotations": notes}
    return {"metadata": metadata, "spec": {"replicas": 0, "template": {"spec": {}}}}


def test_a_builder_that_cannot_be_read_is_reported_and_the_next_one_tried(memory_cluster: MemoryCluster) -> None:
    for name in ("first", "second"):
        memory_cluster.put(f"{DEPLOYMENTS}/{name}0", make_deployment(name))
    warned: list[str] = []
    assert remove_idle_pods(connect(memory_cluster), "ci", False, warned.append) == []
    assert [text.partition(" stay: ")[0] for text in warned] == [
        f"idle pods of builder {name} in namespace ci" for name in ("first", "second")
    ]


def test_a_namespace_that_cannot_be_searched_is_reported(memory_cluster: MemoryCluster) -> None:
    memory_cluster.refuse("GET", "/deployments", status=403, reason="Forbidden", message="no")
    warned: list[str] = []
    assert remove_idle_pods(connect(memory_cluster), "ci", False, warned.append) == []
    (text,) = warned
    assert text.startswith("idle pods in namespace ci were not searched: ")


def test_a_named_namespace_that_does_not_exist_is_reported(memory_cluster: MemoryCluster) -> None:
    warned: list[str] = []
    assert run_reap(memory_cluster.settings, env={}, namespaces=("cj",), warn=warned.append) == []
    assert warned == ["namespace 'cj' not found"]


def test_slots_of_a_strangers_record_have_a_bound() -> None:
    """To close a pod, all of its slots are claimed."""
    assert read_node(Workload.DEPLOYMENT, make_deployment("x")).plan.max_builds == MOST_BUILDS
