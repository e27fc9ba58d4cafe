"""How the figures about pools are reckoned."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bench import pools
from bench.pool import Build, Run, compute_ideal_wait, count_peaks, make_zipf_keys


def run(number: int, pod: str, asked: float, got: float, ended: float, *, queued: bool = False) -> Run:
    build = Build(number=number, key="k", lasts=ended - got)
    return Run(build=build, pod=pod, asked=asked, got=got, ended=ended, queued=queued)


def test_the_peak_is_the_largest_number_at_the_same_time() -> None:
    runs = [run(0, "a", 0, 0, 2), run(1, "a", 0, 1, 3), run(2, "a", 0, 2, 4), run(3, "b", 0, 0, 9)]
    assert count_peaks(runs) == {"a": 2, "b": 1}


def test_an_ideal_queue_has_no_delays() -> None:
    runs = [run(0, "a", 0, 0, 2), run(1, "a", 0, 3, 5), run(2, "a", 1, 9, 10)]
    assert compute_ideal_wait(runs, 1) == 3.0
    assert compute_ideal_wait(runs, 2) == 1.0
    assert compute_ideal_wait(runs, 3) == 0.0


@pytest.mark.parametrize(("first", "second", "overtaken"), [(1.0, 5.0, 0), (5.0, 1.0, 1), (1.4, 1.0, 0)])
def test_a_build_is_overtaken_by_one_that_asked_clearly_later(first: float, second: float, overtaken: int) -> None:
    runs = [run(0, "a", 0, first, 9, queued=True), run(1, "a", 0.8, second, 9, queued=True)]
    assert pools.count_overtaken(runs) == overtaken


def test_few_repositories_have_most_builds() -> None:
    counts = Counter(make_zipf_keys(40, 3000, seed=1))
    assert counts["team0/app00"] > 500
    assert len(counts) == 40
    assert make_zipf_keys(40, 30, seed=1) == make_zipf_keys(40, 30, seed=1) != make_zipf_keys(40, 30, seed=2)


def make_document(**more: Any) -> dict[str, Any]:
    usual = {
        "burst": [{"faults": []}],
        "queue": [{"faults": []}],
        "killed": {"faults": []},
        "races": {"1": 9},
        "scale_up_races": {"1": 9},
    }
    return {**usual, **more}


def test_every_broken_promise_is_a_fault() -> None:
    assert pools.list_faults(make_document()) == []
    broken = make_document(
        burst=[{"faults": ["a"]}], races={"1": 8, "2": 1}, scale_up_races={"0": 1}, crowd={"faults": ["b"]}
    )
    assert pools.list_faults(broken) == ["a", "b", "1 races had 2 winners", "1 races had 0 winners"]
