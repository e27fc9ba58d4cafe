from random import Random
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder.pods import PodView, choose_pod, explain_choice, select_electable

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), min_size=1, max_size=12, unique=True)


@given(st.text(), NAMES, st.randoms())
def test_the_choice_does_not_depend_on_the_order(key: str, pods: list[str], random: Random) -> None:
    shuffled = random.sample(pods, len(pods))
    assert choose_pod(key, pods) == choose_pod(key, shuffled)


@given(st.text(), NAMES)
def test_a_key_moves_only_when_its_own_pod_goes(key: str, pods: list[str]) -> None:
    chosen = choose_pod(key, pods)
    for gone in pods:
        left = [pod for pod in pods if pod != gone]
        if gone != chosen and left:
            assert choose_pod(key, left) == chosen


def test_there_must_be_a_pod() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose_pod("key", [])


@pytest.mark.parametrize(("count", "limit"), [(2, 1.06), (5, 1.10), (10, 1.15), (32, 1.30)])
def test_the_busiest_pod_has_little_more_than_its_share(count: int, limit: float) -> None:
    random = Random(count)
    keys = [f"team{number % 40}/app{number}" for number in range(2000)]
    ratios = []
    for _ in range(12):
        pods = [f"buildkit-{random.getrandbits(40):x}" for _ in range(count)]
        chosen = [choose_pod(key, pods) for key in keys]
        ratios.append(max(map(chosen.count, pods)) / (len(keys) / count))
    assert median(ratios) <= limit


def test_a_new_pod_takes_its_share_only() -> None:
    random = Random(1)
    keys = [f"team/app{number}" for number in range(2000)]
    moved = []
    for _ in range(12):
        *old, new = (f"buildkit-{random.getrandbits(40):x}" for _ in range(6))
        moved.append(mean(choose_pod(key, old) != choose_pod(key, [*old, new]) for key in keys) * 6)
    assert mean(moved) <= 1.05


NOW = 1_777_636_810.0
"""2026-05-01T12:00:10Z."""


def pod(name: str, **more: Any) -> PodView:
    usual: dict[str, Any] = {"host": "n1", "ready": True, "created": "2026-05-01T11:00:00Z"}
    return PodView(name=name, namespace="ns", node="amd64", **(usual | more))


GOING = pod("going", terminating=True)
UNREADY = pod("unready", ready=False)
NEW = pod("new", ready=False, created="2026-05-01T12:00:00Z")
LONELY = pod("lonely", ready=False, created="2026-05-01T12:00:00Z")


@pytest.mark.parametrize(
    ("pods", "chosen"),
    [
        ([pod("b"), pod("a")], ["a", "b"]),
        ([pod("b"), GOING, pod("a"), UNREADY], ["a", "b"]),
        ([pod("a"), NEW], []),
        ([pod("a"), UNREADY], ["a"]),
        ([UNREADY, pod("x", ready=False)], []),
        ([LONELY], ["lonely"]),
        ([GOING, LONELY], ["lonely"]),
        ([pod("x", host="", ready=False)], []),
        ([GOING], []),
        ([], []),
    ],
)
def test_only_pods_that_are_ready_and_stay_are_chosen(pods: list[PodView], chosen: list[str]) -> None:
    assert [each.name for each in select_electable(pods, NOW)] == chosen


def test_the_choice_is_explained() -> None:
    pods = [pod("b"), GOING, pod("a"), UNREADY]
    assert explain_choice(pods[0], pods[:1], "at random") == "pod b, one of 1 ready, is chosen at random"
    assert explain_choice(pods[0], pods, "by the sticky key 'x'") == (
        "pod b, one of 2 ready, is chosen by the sticky key 'x'; skipped: going is terminating, unready is not ready"
    )
