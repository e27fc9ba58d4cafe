"""Slots and the queue, with several builds at once on an API server in memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.pool import keeper as keeper_module
from ci_buildx.builder.pool.leases import PoolNode
from ci_buildx.builder.pool.pool import PodSlot
from ci_buildx.builder.pool.queue import SlotQueue
from ci_buildx.errors import Forbidden, QueueTimeout, Stopped
from ci_buildx.settings.builder import LoadBalance
from tests.unit.builder.pool.samples import LEASES, NODE, Contender, age, connect, list_leases, put_pods
from tests.unit.memory_cluster import MemoryCluster

PATIENCE = 60.0


def take(contender: Contender) -> PodSlot:
    return contender.pool.try_at_once() or SlotQueue(contender.kube, contender.pool).wait()


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def waiting(contender: Contender) -> Iterator[list[PodSlot]]:
    """A build that is in the queue inside of the block; the list has its slot once it has one."""
    got: list[PodSlot] = []
    thread = threading.Thread(target=lambda: got.append(take(contender)))
    thread.start()
    eventually(lambda: bool(contender.said))
    try:
        yield got
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_build_takes_a_slot_and_gives_it_up(memory_cluster: MemoryCluster) -> None:
    one = Contender(connect(memory_cluster), "one", put_pods(memory_cluster, 2), most=1)
    slot = take(one)
    (stored,) = list_leases(memory_cluster)
    assert stored["metadata"]["name"] == slot.lease
    assert stored["spec"]["holderIdentity"] == "one"
    assert memory_cluster.asked == [f"GET {LEASES}", f"POST {LEASES}"], "two calls to begin"
    one.keeper.release(slot.lease)
    one.keeper.release(slot.lease)
    assert list_leases(memory_cluster) == []
    assert memory_cluster.asked[2:] == [f"DELETE {LEASES}/{slot.lease}"], "and one to end"


@pytest.mark.parametrize("seed", range(10))
def test_of_builds_that_race_for_the_last_slot_one_wins(memory_cluster: MemoryCluster, seed: int) -> None:
    pods = put_pods(memory_cluster, 1)
    take(Contender(connect(memory_cluster), "before", pods, most=2))
    racers = [Contender(connect(memory_cluster), f"{seed}-{number}", pods, most=2, timeout=0.0) for number in range(4)]

    def race(contender: Contender) -> str:
        try:
            return take(contender).lease
        except QueueTimeout:
            return ""

    with ThreadPoolExecutor(len(racers)) as threads:
        slots = [lease for lease in threads.map(race, racers) if lease]
    assert len(slots) == 1
    assert len(list_leases(memory_cluster)) == 2


def test_builds_at_once_are_spread_within_the_bound(memory_cluster: MemoryCluster) -> None:
    """All have the same key, so all prefer the same pod."""
    pods = put_pods(memory_cluster, 4)
    builds = [Contender(connect(memory_cluster), f"b{number}", pods) for number in range(12)]
    with ThreadPoolExecutor(len(builds)) as threads:
        slots = list(threads.map(take, builds))
    loads = Counter(slot.placement.pod.name for slot in slots)
    assert len(slots) == len({slot.lease for slot in slots}) == 12
    assert max(loads.values()) <= 4, "1.25 times the mean, rounded up"
    assert len(loads) >= 3


def test_waiting_builds_get_slots_in_the_order_of_their_tickets(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    first = Contender(connect(memory_cluster), "first", pods, most=1)
    held = take(first)
    second, third = (Contender(connect(memory_cluster), name, pods, most=1) for name in ("second", "third"))
    with waiting(second) as got_second, waiting(third) as got_third:
        assert second.said == ["waiting for a slot: place 1 of 1 in the queue; all 1 slots are taken by 1 builds"]
        assert third.said == ["waiting for a slot: place 2 of 2 in the queue; all 1 slots are taken by 1 builds"]
        first.keeper.release(held.lease)
        eventually(lambda: bool(got_second))
        assert not got_third
        eventually(lambda: "waiting for a slot: place 1 of 1" in third.said[-1])
        second.keeper.close()
    assert got_third[0].waited > 0
    assert third.said[-1].startswith("got a slot after")
    assert [one["spec"]["holderIdentity"] for one in list_leases(memory_cluster)] == ["third"]


def test_a_newcomer_does_not_overtake_the_queue(memory_cluster: MemoryCluster) -> None:
    """A slot is free, but it is for the build that waits: its watch has not reported it yet."""
    pods = put_pods(memory_cluster, 1)
    waiter = Contender(connect(memory_cluster), "waiter", pods, most=1)
    SlotQueue(waiter.kube, waiter.pool)._take_ticket()
    newcomer = Contender(connect(memory_cluster), "newcomer", pods, most=1, timeout=0.0)
    assert newcomer.pool.try_at_once() is None
    with pytest.raises(QueueTimeout, match="0 of 1 slots are taken, the others are for builds that came before"):
        take(newcomer)


def test_a_cancelled_build_leaves_the_queue(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    take(Contender(connect(memory_cluster), "first", pods, most=1))
    cancelled = Contender(connect(memory_cluster), "cancelled", pods, most=1)
    ended: list[str] = []

    def wait() -> None:
        try:
            take(cancelled)
        except Stopped:
            ended.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: bool(list_leases(memory_cluster, "ticket")))
    cancelled.stop.set()
    thread.join(PATIENCE)
    assert ended == ["stopped"]
    assert list_leases(memory_cluster, "ticket") == []


def test_a_killed_build_loses_its_place_and_its_slot(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    take(Contender(connect(memory_cluster), "killed", pods, most=1))
    dead = Contender(connect(memory_cluster), "dead", pods, most=1)
    SlotQueue(dead.kube, dead.pool)._take_ticket()
    alive = Contender(connect(memory_cluster), "alive", pods, most=1)
    with waiting(alive) as got:
        assert "place 2 of 2" in alive.said[0]
        (theirs,) = (one for one in list_leases(memory_cluster, "ticket") if one["spec"]["holderIdentity"] == "dead")
        memory_cluster.put(
            f"{LEASES}/{theirs['metadata']['name']}",
            theirs | {"spec": theirs["spec"] | {"renewTime": "2020-01-01T00:00:00Z"}},
        )
        age(memory_cluster, "slot")
    assert got[0].placement.number == 0, "the same slot, taken over"
    (slot,) = list_leases(memory_cluster, "slot")
    assert slot["spec"]["holderIdentity"] == "alive"


def test_what_killed_builds_left_is_removed_by_the_next_build(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 4)
    for number in range(3):
        take(Contender(connect(memory_cluster), f"killed{number}", pods, most=4))
    age(memory_cluster, "slot")
    take(Contender(connect(memory_cluster), "next", pods, most=4))
    eventually(lambda: {one["spec"]["holderIdentity"] for one in list_leases(memory_cluster)} == {"next"})


def test_a_build_that_waits_too_long_fails_and_says_what_to_change(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 2)
    for number in range(2):
        take(Contender(connect(memory_cluster), f"b{number}", pods, most=1))
    with pytest.raises(QueueTimeout) as caught:
        take(Contender(connect(memory_cluster), "late", pods, most=1, timeout=0.05))
    assert str(caught.value) == (
        "builder 'kube' has no free slot: all 2 slots are taken by 2 builds; the build has waited for 0.05 s and is "
        "number 1 in the queue; raise --queue-timeout, driver-opt max-builds or the number of replicas"
    )
    assert list_leases(memory_cluster, "ticket") == []
    with pytest.raises(QueueTimeout, match="and --queue-timeout is 0"):
        take(Contender(connect(memory_cluster), "hasty", pods, most=1, timeout=0.0))
    assert f"POST {LEASES}" not in memory_cluster.asked[-3:], "no ticket without a wait"


def test_while_no_pod_can_be_chosen_a_build_waits_even_without_a_bound(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 2)
    build = Contender(connect(memory_cluster), "b", [])
    with waiting(build) as got:
        assert "no pod is ready and on a cluster node that is not cordoned" in build.said[0]
        build.pods = pods
    assert got


def test_a_watch_that_is_refused_ends_the_wait(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    take(Contender(connect(memory_cluster), "first", pods, most=1))
    second = Contender(connect(memory_cluster), "second", pods, most=1)
    assert second.pool.try_at_once() is None
    memory_cluster.refuse("GET", r"/leases$", message="may not watch")
    with pytest.raises(Forbidden, match="may not watch"):
        SlotQueue(second.kube, second.pool).wait()
    assert list_leases(memory_cluster, "ticket") == []


def test_slots_are_renewed_until_they_are_given_up(
    memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RENEWALS", 6000)
    build = Contender(connect(memory_cluster), "b", put_pods(memory_cluster, 1), most=1)
    slot = take(build)
    ticket = SlotQueue(build.kube, build.pool)._take_ticket()
    eventually(lambda: labels.TICKET in memory_cluster.find("leases", ticket.name)["metadata"]["annotations"])
    stored = memory_cluster.find("leases", ticket.name)
    assert stored["metadata"]["annotations"][labels.TICKET] == ticket.version
    assert stored["metadata"]["resourceVersion"] != ticket.version
    before = memory_cluster.find("leases", slot.lease)["metadata"]["resourceVersion"]
    eventually(lambda: memory_cluster.find("leases", slot.lease)["metadata"]["resourceVersion"] != before)
    build.keeper.close()
    assert list_leases(memory_cluster) == []


def test_nothing_is_renewed_over_a_client_that_is_closed(
    memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RENEWALS", 600)
    build = Contender(connect(memory_cluster), "b", put_pods(memory_cluster, 1), most=1)
    others = set(threading.enumerate())
    take(build)
    build.kube.close()
    eventually(lambda: all(thread.name != "leases" for thread in {*threading.enumerate()} - others))


def test_a_slot_that_another_build_took_over_is_reported_and_left_to_it(
    memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was suspended for minutes continues."""
    pods = put_pods(memory_cluster, 1)
    slow = Contender(connect(memory_cluster), "slow", pods, most=1)
    slot = take(slow)
    age(memory_cluster, "slot")
    assert take(Contender(connect(memory_cluster), "fast", pods, most=1)).lease == slot.lease
    held = slow.keeper._held[slot.lease]
    slow.keeper._renew(held)
    assert slow.warned == ["the slot in pod kube0-0 could not be renewed in time: another build may share the pod"]
    slow.keeper.close()
    assert memory_cluster.find("leases")["spec"]["holderIdentity"] == "fast"


def test_a_renewal_whose_answer_was_lost_does_not_lose_the_slot(memory_cluster: MemoryCluster) -> None:
    build = Contender(connect(memory_cluster), "b", put_pods(memory_cluster, 1), most=1)
    slot = take(build)
    stored = memory_cluster.find("leases")
    memory_cluster.put(f"{LEASES}/{slot.lease}", stored)  # a newer version, by our own hand
    build.keeper._renew(build.keeper._held[slot.lease])
    assert build.warned == []
    build.keeper.close()
    assert list_leases(memory_cluster) == []


def test_after_the_end_nothing_can_be_claimed(memory_cluster: MemoryCluster) -> None:
    """A signal ends the job while another thread is about to claim."""
    build = Contender(connect(memory_cluster), "b", put_pods(memory_cluster, 1), most=1)
    build.keeper.close()
    with pytest.raises(Stopped):
        take(build)
    assert list_leases(memory_cluster) == []


def test_without_the_right_to_delete_slots_are_marked_as_free(memory_cluster: MemoryCluster) -> None:
    """The role of an earlier version allows create, get, list and patch."""
    memory_cluster.refuse("DELETE", "/leases/")
    pods = put_pods(memory_cluster, 1)
    first = Contender(connect(memory_cluster), "first", pods, most=1)
    first.keeper.release(take(first).lease)
    assert "holderIdentity" not in memory_cluster.find("leases")["spec"]
    take(Contender(connect(memory_cluster), "second", pods, most=1))
    assert memory_cluster.find("leases")["spec"]["holderIdentity"] == "second"


def test_slots_of_a_pod_go_with_it(memory_cluster: MemoryCluster) -> None:
    pods = put_pods(memory_cluster, 1)
    take(Contender(connect(memory_cluster), "b", pods, most=1))
    memory_cluster.remove("/api/v1/namespaces/ci/pods/kube0-0")
    assert list_leases(memory_cluster) == []


@pytest.mark.parametrize("policy", list(LoadBalance))
def test_each_policy_leaves_no_slot_unused(memory_cluster: MemoryCluster, policy: LoadBalance) -> None:
    pods = put_pods(memory_cluster, 3)
    builds = [Contender(connect(memory_cluster), f"b{number}", pods, most=2, policy=policy) for number in range(6)]
    with ThreadPoolExecutor(len(builds)) as threads:
        slots = list(threads.map(take, builds))
    assert set(Counter(slot.placement.pod.name for slot in slots).values()) == {2}


def test_nodes_of_a_builder_have_queues_of_their_own() -> None:
    other = PoolNode(location=NODE.location, name="arm")
    assert (other.path, NODE.path) == (LEASES, LEASES)
    assert other.selector != NODE.selector
    assert "kube-builder.dev/node=arm" in other.selector
