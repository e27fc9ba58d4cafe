"""Slots and tickets as Leases: what is written is read back, and what no longer counts is recognized."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder import labels
from ci_buildx.builder.pool.leases import (
    LONGEST_DURATION,
    MOST_AHEAD,
    SLOT_SECONDS,
    TICKET_SECONDS,
    LeaseRole,
    PoolView,
    make_slot,
    make_slot_name,
    make_ticket,
    read_lease,
    read_leases,
)
from tests.unit.builder.pool.samples import NODE, lease, make_pod

RENEWED = "2026-05-01T12:00:10.250000Z"
NOW = 1_777_636_810.0
"""2026-05-01T12:00:10Z."""


def store(made: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Lease as the API server returns it."""
    known = {"uid": "u1", "resourceVersion": "17", "creationTimestamp": "2026-05-01T12:00:10Z"}
    return made | {"metadata": made["metadata"] | known | more}


def test_a_slot_is_read_back() -> None:
    pod = make_pod(3)
    stored = store(make_slot(NODE, pod, 2, holder="me", key="team/app", renewed=RENEWED))
    read = read_lease(stored)
    assert read is not None
    assert (read.role, read.owner, read.holder, read.number, read.version) == (LeaseRole.SLOT, pod.uid, "me", 2, "17")
    assert read.is_held(NOW + SLOT_SECONDS)
    assert not read.is_held(NOW + SLOT_SECONDS + 2)
    assert stored["metadata"]["annotations"][labels.KEY] == "team/app"
    (owner,) = stored["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", pod.uid), "it goes with its pod"


def test_a_tickets_place_is_the_version_of_its_creation() -> None:
    stored = store(make_ticket(NODE, holder="me", key="k", renewed=RENEWED))
    created = read_lease(stored)
    assert created is not None
    assert (created.role, created.number) == (LeaseRole.TICKET, 17)
    renewed = store(stored, resourceVersion="99", annotations={labels.TICKET: "17"})
    read = read_lease(renewed)
    assert read is not None
    assert (read.number, read.version) == (17, "99")
    assert read.expires == NOW + TICKET_SECONDS + 1


def test_the_queue_is_in_the_order_of_creation_without_those_that_are_gone() -> None:
    waiting = [
        lease(name="c", number=30),
        lease(name="a", number=10),
        lease(name="killed", number=5, expires=99.0),
        lease(name="given-up", number=6, holder=""),
        lease(name="b", number=20),
        lease(name="slot", role=LeaseRole.SLOT, number=1),
    ]
    view = PoolView(leases={one.name: one for one in waiting})
    assert [one.name for one in view.list_queue(100.0)] == ["a", "b", "c"]


def test_a_slot_counts_for_its_own_pod_only() -> None:
    """A StatefulSet's new pod has the old one's name."""
    old, new = make_pod(1, uid="old-uid"), make_pod(1, uid="new-uid")
    taken = lease(name=make_slot_name(old, 0), role=LeaseRole.SLOT, owner="old-uid")
    view = PoolView().change(taken)
    assert (view.list_held(old, 0.0), view.list_held(new, 0.0)) == (frozenset({0}), frozenset())
    assert make_slot_name(old, 0) != make_slot_name(new, 0)
    assert view.change(taken, gone=True).leases == {}


def test_only_what_a_killed_build_left_long_ago_is_abandoned() -> None:
    view = PoolView().change(lease(name="a", expires=100.0)).change(lease(name="b", expires=170.0))
    assert [one.name for one in view.list_abandoned(161.0)] == ["a"]
    assert view.list_abandoned(159.0) == ()


def test_a_forged_renewal_holds_nothing() -> None:
    """Without these limits, any account that can write Leases could hold a slot or the head of the queue forever."""
    pod = make_pod(3)
    for renewed, duration in (("2999-01-01T00:00:00.000000Z", 60), (RENEWED, 2**31 - 1), ("9999-12-31T23:59:59Z", 1)):
        stored = store(make_slot(NODE, pod, 2, holder="me", key="", renewed=renewed))
        stored["spec"]["leaseDurationSeconds"] = duration
        read = read_lease(stored)
        assert read is not None
        assert not read.is_held(NOW + LONGEST_DURATION + 2)
        view = PoolView().change(read)
        assert view.list_held(pod, NOW + LONGEST_DURATION + 2) == frozenset()
        assert view.list_abandoned(NOW + LONGEST_DURATION + SLOT_SECONDS + 2) == (read,)


def test_a_renewal_by_another_api_servers_clock_counts() -> None:
    stored = store(make_slot(NODE, make_pod(3), 2, holder="me", key="", renewed="2026-05-01T12:05:10.000000Z"))
    read = read_lease(stored)
    assert read is not None
    assert read.renewed == NOW + MOST_AHEAD
    assert read.is_held(NOW)
    assert not read.is_held(NOW - 1)
    assert PoolView().change(read).list_abandoned(NOW) == ()


def test_a_forged_place_overtakes_nobody() -> None:
    """The annotation is the client's, the time of the creation is not."""
    honest = read_lease(store(make_ticket(NODE, holder="honest", key="", renewed=RENEWED)))
    forged = make_ticket(NODE, holder="forged", key="", renewed=RENEWED)
    later = read_lease(store(forged, creationTimestamp="2026-05-01T12:00:11Z", annotations={labels.TICKET: "1"}))
    assert honest is not None and later is not None
    assert PoolView().change(later).change(honest).list_queue(NOW + 5) == (honest, later)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {}},
        {"labels": {labels.POOL: "other"}},
    ],
)
def test_other_leases_are_passed_over(change: dict[str, Any]) -> None:
    """A job's heartbeat is a Lease, too."""
    stored = store(make_ticket(NODE, holder="me", key="k", renewed=RENEWED), **change)
    assert read_lease(stored) is None
    assert read_leases([stored]).leases == {}


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60), st.integers(0, 2**31 - 1))
def test_a_strangers_lease_never_fails_the_reader(version: str, time: str, name: str, seconds: int) -> None:
    metadata = {"name": name, "labels": {labels.POOL: "slot"}, "resourceVersion": version}
    read = read_lease({"metadata": metadata, "spec": {"renewTime": time, "leaseDurationSeconds": seconds}})
    assert read is None or read.number >= 0


@given(st.text())
def test_a_long_or_strange_key_fits_into_a_lease(key: str) -> None:
    made = make_slot(NODE, make_pod(0), 0, holder="me", key=key * 50, renewed=RENEWED)
    assert len(made["metadata"]["annotations"][labels.KEY].encode()) <= 800
