"""Which pod a build gets: by its key, unless the pod has more than its share of builds."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder.pods import choose_pod, rank_pods
from ci_buildx.builder.pool.placement import (
    PlacementRule,
    PodLoad,
    PodPlacement,
    choose_most_builds,
    compute_bound,
    count_free_slots,
    explain_placement,
    find_spare_pod,
    place_build,
)
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import BuilderSettings, LoadBalance
from tests.unit.builder.pool.samples import make_pod

POLICIES = st.sampled_from(list(LoadBalance))
HELD = st.lists(st.frozensets(st.integers(0, 9), max_size=8), min_size=1, max_size=10)


def load(*counts: int) -> list[PodLoad]:
    """Pods with so many builds."""
    return [PodLoad(pod=make_pod(number), held=frozenset(range(count))) for number, count in enumerate(counts)]


def rule(policy: LoadBalance = LoadBalance.STICKY, key: str = "team/app", most: int = 0) -> PlacementRule:
    return PlacementRule(policy=policy, key=key, most=most)


def place(wanted: PlacementRule, loads: list[PodLoad], seed: int = 0) -> PodPlacement:
    chosen = place_build(wanted, loads, Random(seed))
    assert chosen is not None
    return chosen


@pytest.mark.parametrize(
    ("builds", "pods", "bound"), [(1, 10, 2), (16, 10, 2), (17, 10, 3), (30, 10, 4), (31, 10, 4), (1, 1, 2), (16, 4, 5)]
)
def test_the_bound_is_a_quarter_above_the_mean_and_at_least_two(builds: int, pods: int, bound: int) -> None:
    assert compute_bound(builds, pods) == bound


def test_a_nearly_idle_pool_keeps_two_builds_of_a_key_with_their_cache() -> None:
    """The third goes on: with 1.25 times the mean alone, which is one build, the second would have left."""
    first, second, *_ = rank_pods("team/app", [f"kube0-{number}" for number in range(4)])
    loads = {f"kube0-{number}": one for number, one in enumerate(load(0, 0, 0, 0))}
    loads[first] = PodLoad(pod=loads[first].pod, held=frozenset({0}))
    assert place(rule(), list(loads.values())).pod.name == first
    loads[first] = PodLoad(pod=loads[first].pod, held=frozenset({0, 1}))
    chosen = place(rule(), list(loads.values()))
    assert chosen.pod.name == second
    assert f"{first} has 2 builds, the bound while the pool is quiet" in explain_placement(rule(), chosen)


def test_a_key_gets_its_first_choice_while_that_is_not_busier_than_the_others() -> None:
    first, second, *_ = rank_pods("team/app", [f"kube0-{number}" for number in range(4)])
    loads = dict(zip((f"kube0-{number}" for number in range(4)), load(1, 1, 1, 1), strict=True))
    chosen = place(rule(), list(loads.values()))
    assert (chosen.pod.name, chosen.rank, chosen.limit, chosen.builds) == (first, 0, 2, 1)
    loads[first] = PodLoad(pod=loads[first].pod, held=frozenset({0, 1}))
    chosen = place(rule(), list(loads.values()))
    assert (chosen.pod.name, chosen.rank) == (second, 1)


@given(st.text(), HELD, POLICIES, st.integers(0, 6), st.integers(0, 3), st.integers())
def test_a_build_is_placed_whenever_a_pod_has_room(
    key: str, held: list[frozenset[int]], policy: LoadBalance, most: int, least: int, seed: int
) -> None:
    loads = [PodLoad(pod=make_pod(number), held=one) for number, one in enumerate(held)]
    chosen = place_build(replace(rule(policy, key, most), least=least), loads, Random(seed))
    free = count_free_slots(loads, most)
    assert (chosen is None) == (free == 0)
    if chosen is not None:
        (taken,) = (one for one in loads if one.pod == chosen.pod)
        assert chosen.number not in taken.held
        assert chosen.number < (most or chosen.limit)
        assert taken.builds < chosen.limit


@given(st.lists(st.integers(0, 39), max_size=60), st.integers(1, 10), st.integers())
def test_no_pod_has_more_builds_than_the_bound(keys: list[int], count: int, seed: int) -> None:
    draw, held = Random(seed), {number: set[int]() for number in range(count)}
    pods = {f"kube0-{number}": number for number in range(count)}
    for key in keys:
        loads = [PodLoad(pod=make_pod(number), held=frozenset(one)) for number, one in held.items()]
        chosen = place_build(rule(key=f"team/app{key}"), loads, draw)
        assert chosen is not None
        held[pods[chosen.pod.name]].add(chosen.number)
    assert max(map(len, held.values())) <= compute_bound(max(len(keys), 1), count)


def test_a_quiet_elastic_pool_leaves_its_last_pod_idle() -> None:
    elastic = PlacementRule(policy=LoadBalance.STICKY, key="", most=2, least=2)
    loads = [PodLoad(pod=make_pod(number)) for number in range(11)]
    keys = [f"team/app{number}" for number in range(200)]
    chosen = [place(replace(elastic, key=key), loads) for key in keys]
    # kube0-10 is the last one, although kube0-9 comes after it in the alphabet.
    assert {one.pod.name for one in chosen} == {f"kube0-{number}" for number in range(10)}
    [moved, *_] = [one for one in chosen if one.first.pod.name == "kube0-10"]
    assert moved.rank == 1
    key = keys[chosen.index(moved)]
    assert explain_placement(replace(elastic, key=key), moved) == (
        f"by the sticky key {key!r} (choice 2, 0 other builds, at most 2 in all: "
        "kube0-10 is left idle, so that the pool can shrink)"
    )


@pytest.mark.parametrize(
    ("counts", "least", "spare"),
    [
        ((0, 0, 0), 2, "kube0-2"),
        ((1, 0, 0), 2, "kube0-2"),
        ((1, 1, 0), 2, ""),  # more than half of the others' four slots
        ((0, 0), 2, ""),  # the smallest size
        ((0,), 1, ""),
        ((0, 0, 0), 0, ""),  # not elastic
    ],
)
def test_the_last_pod_is_spare_if_half_of_the_others_suffices(counts: tuple[int, ...], least: int, spare: str) -> None:
    assert find_spare_pod(replace(rule(most=2), least=least), load(*counts)) == spare


def test_builds_that_decide_at_once_never_exceed_the_bound_together() -> None:
    """They see the same state; a slot can be claimed once, and all that are tried are below the limit."""
    loads = load(3, 3, 3, 3)
    tried = {(chosen.pod.name, chosen.number) for seed in range(200) for chosen in [place(rule(most=4), loads, seed)]}
    assert {number for _, number in tried} == {3}


def test_the_least_busy_pod_is_chosen_and_of_equal_ones_the_keys_first() -> None:
    assert place(rule(LoadBalance.LEAST), load(2, 1, 2)).pod.name == "kube0-1"
    names = [f"kube0-{number}" for number in range(5)]
    for key in ("a", "b", "c", "d"):
        assert place(rule(LoadBalance.LEAST, key), load(1, 1, 1, 1, 1)).pod.name == choose_pod(key, names)


def test_a_random_choice_takes_every_pod_with_room() -> None:
    chosen = Counter(place(rule(LoadBalance.RANDOM, most=2), load(0, 2, 1, 0), seed).pod.name for seed in range(300))
    assert set(chosen) == {"kube0-0", "kube0-2", "kube0-3"}
    assert min(chosen.values()) > 50


def test_without_pods_nothing_is_chosen() -> None:
    assert place_build(rule(), [], Random(0)) is None
    assert count_free_slots([], 4) == 0
    assert count_free_slots(load(1, 1), 0) is None


def test_the_choice_is_explained_with_the_load() -> None:
    first, second = rank_pods("team/app", ["kube0-0", "kube0-1"])
    loads = {f"kube0-{number}": one for number, one in enumerate(load(0, 0))}
    by = "by the sticky key 'team/app'"
    assert explain_placement(rule(), place(rule(), list(loads.values()))) == f"{by} (first choice, 0 other builds)"
    loads[first] = PodLoad(pod=loads[first].pod, held=frozenset(range(4)))
    loads[second] = PodLoad(pod=loads[second].pod, held=frozenset({0}))
    assert explain_placement(rule(), place(rule(), list(loads.values()))) == (
        f"{by} (choice 2, 1 other build: {first} has 4 builds, 1.25 times the mean is 4)"
    )
    full = rule(most=4)
    assert explain_placement(full, place(full, list(loads.values()))) == (
        f"{by} (choice 2, 1 other build, at most 4 in all: all 4 slots of {first} are taken)"
    )
    least = rule(LoadBalance.LEAST)
    assert explain_placement(least, place(least, load(1, 0))) == "as the least busy (0 other builds)"
    assert explain_placement(rule(LoadBalance.RANDOM), place(rule(LoadBalance.RANDOM), load(0))).startswith("at random")


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 0),
        ({"replicas": 4}, 0),
        ({"replicas": 4, "requests": (("cpu", "4"),)}, 4),
        ({"replicas": 4, "requests": (("cpu", "3500m"), ("memory", "16Gi"))}, 3),
        ({"replicas": 4, "requests": (("cpu", "8"), ("memory", "5Gi"))}, 5),
        ({"replicas": 4, "requests": (("cpu", "500m"), ("memory", "2Gi"))}, 2),
        ({"replicas": 4, "requests": (("cpu", "500m"),)}, 0),
        ({"replicas": 4, "requests": (("ephemeral-storage", "50Gi"),)}, 0),
        ({"replicas": 1, "requests": (("cpu", "4"),)}, 0),
        ({"replicas": 1, "max_builds": 2}, 2),
        ({"replicas": 4, "requests": (("cpu", "4"),), "max_builds": 0}, 0),
    ],
)
def test_the_default_bound_follows_the_pods_requests(settings: dict[str, Any], most: int) -> None:
    assert choose_most_builds(BuilderSettings(**settings)) == most
