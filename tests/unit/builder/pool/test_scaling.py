"""Elastic nodes: pods are added for builds that wait, and idle ones removed, never one that builds."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from ci_buildx.builder.builder import Workload
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.pool import queue, scaling
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import LeaseRole, PoolView, make_slot_name
from ci_buildx.builder.pool.queue import SlotQueue
from ci_buildx.builder.pool.scaling import DELETION_COST, ElasticNode, compute_wanted_pods, select_removable
from ci_buildx.errors import Forbidden, QueueTimeout
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import ReplicaRange
from tests.unit.builder.pool.samples import (
    LEASES,
    NODE,
    PODS,
    Contender,
    connect,
    lease,
    list_leases,
    make_pod,
    put_pods,
)
from tests.unit.memory_cluster import MemoryCluster

NOW = 1_777_636_810.0
"""2026-05-01T12:00:10Z."""
WORKLOAD = "/apis/apps/v1/namespaces/ci/replicasets/kube0"
RANGE = ReplicaRange(least=2, most=8, idle=600.0)


def make_elastic(kind: Workload = Workload.DEPLOYMENT, **more: Any) -> ElasticNode:
    usual: dict[str, Any] = {"node": NODE, "kind": kind, "path": WORKLOAD, "scaling": RANGE, "most": 2}
    return ElasticNode(**usual | more)


def put_workload(cluster: MemoryCluster, replicas: int) -> None:
    """A workload whose controller does not run here."""
    cluster.objects[WORKLOAD] = {
        "metadata": {"name": "kube0", "namespace": "ci", "resourceVersion": "1", "uid": "workload"},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {}}, "spec": {}}},
    }


def get_replicas(cluster: MemoryCluster) -> int:
    return int(cluster.objects[WORKLOAD]["spec"]["replicas"])


@pytest.mark.parametrize(("builds", "pods"), [(0, 2), (4, 2), (5, 3), (15, 8), (16, 8), (100, 8)])
def test_as_many_pods_as_the_builds_need(builds: int, pods: int) -> None:
    assert compute_wanted_pods(RANGE, builds, 2) == pods


def test_pods_are_added_once_for_the_same_builds(memory_cluster: MemoryCluster) -> None:
    put_workload(memory_cluster, 2)
    clients = [connect(memory_cluster) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda kube: scaling.add_pods(kube, make_elastic(), 7), clients))
    assert get_replicas(memory_cluster) == 4
    assert sorted(added) == [0, 0, 0, 2], "one winner"
    assert scaling.add_pods(clients[0], make_elastic(), 5) == 0, "never fewer"
    assert scaling.add_pods(clients[0], make_elastic(), 99) == 4
    assert get_replicas(memory_cluster) == 8


def test_in_a_queue_that_moves_each_first_build_adds_the_pods_that_all_need(
    memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No build waits long enough to add pods from where it has begun to wait."""
    monkeypatch.setattr(queue, "_GROWTH", 1000.0)
    put_workload(memory_cluster, 1)
    elastic = make_elastic(scaling=replace(RANGE, least=1), most=1)
    pods = put_pods(memory_cluster, 1)
    builds = [
        Contender(connect(memory_cluster), f"b{number}", pods, most=1, elastic=elastic if number else None)
        for number in range(4)
    ]
    held = builds[0].pool.try_at_once()
    assert held is not None
    with ThreadPoolExecutor(3) as threads:
        for number, build in enumerate(builds[1:], start=1):
            threads.submit(SlotQueue(build.kube, build.pool).wait)
            wait_until(partial(has_place, build, number))
        wait_until(lambda: get_replicas(memory_cluster) == 2)
        builds[0].keeper.release(held.lease)
        wait_until(lambda: get_replicas(memory_cluster) == 3)
        wait_until(lambda: any("adding 1 pod: 2 waiting" in line for line in builds[2].said))
        for build in builds:
            build.stop.set()


def test_a_build_does_not_ask_for_more_pods_than_the_most(memory_cluster: MemoryCluster) -> None:
    elastic = make_elastic(scaling=replace(RANGE, least=1, most=1), most=1)
    pods = put_pods(memory_cluster, 1)
    first = Contender(connect(memory_cluster), "first", pods, most=1)
    assert first.pool.try_at_once()
    second = Contender(connect(memory_cluster), "second", pods, most=1, timeout=0.3, elastic=elastic)
    with pytest.raises(QueueTimeout):
        SlotQueue(second.kube, second.pool).wait()
    assert not [line for line in memory_cluster.asked if WORKLOAD in line]


def has_place(build: Contender, place: int) -> bool:
    return any(f"place {place} of" in line for line in build.said)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def used(pod: PodView, ago: float, *, held: bool = False) -> PoolView:
    """A pod's slot that was given up some time ago, or that a build holds."""
    one = lease(
        name=make_slot_name(pod, 0),
        role=LeaseRole.SLOT,
        owner=pod.uid,
        holder="h" if held else "",
        renewed=NOW - ago,
        expires=NOW - ago + 61,
    )
    return PoolView().change(one)


def join(*views: PoolView) -> PoolView:
    whole = PoolView()
    for view in views:
        for one in view.leases.values():
            whole = whole.change(one)
    return whole


OLD = "2026-05-01T10:00:00Z"
PODS_OF_FOUR = [make_pod(number, created=OLD) for number in range(4)]


def select(view: PoolView, pods: list[PodView] | None = None, **more: Any) -> list[str]:
    found = select_removable(make_elastic(**more), pods or PODS_OF_FOUR, view, NOW, replicas=4)
    return [pod.name for pod in found]


def test_of_a_deployment_the_longest_idle_pods_go() -> None:
    a, b, c, d = PODS_OF_FOUR
    view = join(used(a, 700), used(b, 100), used(c, 900), used(d, 1000, held=False))
    assert select(view) == [d.name, c.name]
    assert select(join(used(a, 10), used(b, 10), used(c, 10), used(d, 10))) == []


def test_a_pod_that_builds_or_was_just_created_stays() -> None:
    a, b, *_ = PODS_OF_FOUR
    fresh = [a, b, make_pod(2, created="2026-05-01T12:00:00Z"), make_pod(3, created=OLD)]
    assert select(join(used(a, 5, held=True), used(b, 5, held=True)), fresh) == ["kube0-3"]


def test_of_a_statefulset_the_highest_numbers_go_while_they_are_idle() -> None:
    pods = [make_pod(number, created=OLD) for number in (9, 10, 2, 0)]
    by_name = {pod.name: pod for pod in pods}
    kind = Workload.STATEFUL_SET
    assert select(PoolView(), pods, kind=kind) == ["kube0-10", "kube0-9"]
    assert select(used(by_name["kube0-9"], 5, held=True), pods, kind=kind) == ["kube0-10"]
    assert select(used(by_name["kube0-10"], 5, held=True), pods, kind=kind) == []


def test_nothing_goes_while_builds_wait_or_pods_are_terminating() -> None:
    waiting = PoolView().change(lease(expires=NOW + 9))
    assert select(waiting) == []
    assert select(PoolView(), [*PODS_OF_FOUR[:3], make_pod(3, created=OLD, terminating=True)]) == []


def test_the_minimum_stays_and_may_be_none() -> None:
    to_zero = ReplicaRange(least=0, most=8, idle=600.0)
    assert len(select(PoolView(), scaling=to_zero)) == 4
    assert select(PoolView(), scaling=ReplicaRange(least=4, most=8, idle=600.0)) == []


def test_idle_pods_are_removed_with_their_slots_closed(memory_cluster: MemoryCluster) -> None:
    put_workload(memory_cluster, 3)
    pods = [
        PodView(name=pod.name, namespace="ci", node="kube0", host="n1", ready=True, uid=pod.uid, created=OLD)
        for pod in put_pods(memory_cluster, 3)
    ]
    kube = connect(memory_cluster)
    keeper = LeaseKeeper(kube, "remover")
    gone = scaling.remove_idle_pods(kube, make_elastic(), keeper, pods, PoolView())
    assert len(gone) == 1
    assert get_replicas(memory_cluster) == 2
    notes = memory_cluster.objects[f"{PODS}/{gone[0]}"]["metadata"]["annotations"]
    assert notes == {DELETION_COST: "-1000"}
    late = Contender(connect(memory_cluster), "late", [pod for pod in pods if pod.name in gone], most=2)
    assert late.pool.try_at_once() is None, "no build is placed in a pod that goes"


def test_a_build_that_comes_first_keeps_its_pod(memory_cluster: MemoryCluster) -> None:
    """It takes its slot after the Leases were listed."""
    put_workload(memory_cluster, 1)
    pods = put_pods(memory_cluster, 1)
    before = PoolView()
    build = Contender(connect(memory_cluster), "build", pods, most=2)
    assert build.pool.try_at_once()
    kube = connect(memory_cluster)
    elastic = make_elastic(scaling=ReplicaRange(least=0, most=2, idle=0.0))
    idle = [
        PodView(name=pods[0].name, namespace="ci", node="kube0", host="n", ready=True, uid=pods[0].uid, created=OLD)
    ]
    assert scaling.remove_idle_pods(kube, elastic, LeaseKeeper(kube, "remover"), idle, before) == ()
    assert get_replicas(memory_cluster) == 1
    assert {one["spec"]["holderIdentity"] for one in list_leases(memory_cluster)} == {"build"}


def test_if_the_workload_changes_meanwhile_nothing_is_removed(memory_cluster: MemoryCluster) -> None:
    put_workload(memory_cluster, 1)
    (pod,) = put_pods(memory_cluster, 1)
    idle = [PodView(name=pod.name, namespace="ci", node="kube0", host="n", ready=True, uid=pod.uid, created=OLD)]
    memory_cluster.refuse("PATCH", "/replicasets/", status=409, reason="Conflict", message="changed")
    kube = connect(memory_cluster)
    elastic = make_elastic(scaling=ReplicaRange(least=0, most=2, idle=0.0))
    assert scaling.remove_idle_pods(kube, elastic, LeaseKeeper(kube, "remover"), idle, PoolView()) == ()
    assert list_leases(memory_cluster) == []


def test_a_slot_that_was_given_up_shows_when(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    build = Contender(connect(memory_cluster), "b", pods, most=1)
    build.pool.request = replace(build.pool.request, elastic=make_elastic())
    slot = build.pool.try_at_once()
    assert slot
    build.keeper.release(slot.lease)
    (stored,) = list_leases(memory_cluster)
    assert "holderIdentity" not in stored["spec"]
    view = build.pool.list_leases()
    assert scaling.compute_idle_time(pods[0], view, time.time()) < 60
    assert view.list_abandoned(time.time() + 9999) == ()
    assert build.pool.try_at_once(), "and is taken again"
    assert memory_cluster.asked[-1] == f"PATCH {LEASES}/{slot.lease}"


def test_without_the_right_to_annotate_pods_their_slots_are_free_again(memory_cluster: MemoryCluster) -> None:
    put_workload(memory_cluster, 1)
    (pod,) = put_pods(memory_cluster, 1)
    idle = [PodView(name=pod.name, namespace="ci", node="kube0", host="n", ready=True, uid=pod.uid, created=OLD)]
    memory_cluster.refuse("PATCH", "/pods/", message="may not patch")
    kube = connect(memory_cluster)
    elastic = make_elastic(scaling=ReplicaRange(least=0, most=2, idle=0.0))
    with pytest.raises(Forbidden, match="may not patch"):
        scaling.remove_idle_pods(kube, elastic, LeaseKeeper(kube, "remover"), idle, PoolView())
    assert list_leases(memory_cluster) == []
    assert get_replicas(memory_cluster) == 1
