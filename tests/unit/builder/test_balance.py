from random import Random
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder.balance import choose

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), min_size=1, max_size=12, unique=True)


@given(st.text(), NAMES, st.randoms())
def test_the_choice_does_not_depend_on_the_order(key: str, pods: list[str], random: Random) -> None:
    shuffled = random.sample(pods, len(pods))
    assert choose(key, pods) == choose(key, shuffled)


@given(st.text(), NAMES)
def test_a_key_moves_only_when_its_own_pod_goes(key: str, pods: list[str]) -> None:
    chosen = choose(key, pods)
    for gone in pods:
        left = [pod for pod in pods if pod != gone]
        if gone != chosen and left:
            assert choose(key, left) == chosen


def test_there_must_be_a_pod() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose("key", [])


@pytest.mark.parametrize(("count", "limit"), [(2, 1.06), (5, 1.10), (10, 1.15), (32, 1.30)])
def test_the_busiest_pod_has_little_more_than_its_share(count: int, limit: float) -> None:
    random = Random(count)
    keys = [f"team{number % 40}/app{number}" for number in range(2000)]
    ratios = []
    for _ in range(12):
        pods = [f"buildkit-{random.getrandbits(40):x}" for _ in range(count)]
        chosen = [choose(key, pods) for key in keys]
        ratios.append(max(map(chosen.count, pods)) / (len(keys) / count))
    assert median(ratios) <= limit


def test_a_new_pod_takes_its_share_only() -> None:
    random = Random(1)
    keys = [f"team/app{number}" for number in range(2000)]
    moved = []
    for _ in range(12):
        *old, new = (f"buildkit-{random.getrandbits(40):x}" for _ in range(6))
        moved.append(mean(choose(key, old) != choose(key, [*old, new]) for key in keys) * 6)
    assert mean(moved) <= 1.05
