"""How the figures about balancing are reckoned."""

from collections.abc import Sequence

from bench import balance
from bench.balance import Figures


def first(pod_sets: Sequence[Sequence[str]], keys: Sequence[str]) -> list[list[str]]:
    """Everything on one pod, until a smaller name comes."""
    return [[min(pods) for _ in keys] for pods in pod_sets]


def by_length(pod_sets: Sequence[Sequence[str]], keys: Sequence[str]) -> list[list[str]]:
    """By a property of the key alone: adding a pod moves everything that it does not keep by chance."""
    return [[pods[len(key) % len(pods)] for key in keys] for pods in pod_sets]


def test_all_on_one_pod_is_as_busy_as_there_are_pods() -> None:
    found = balance.measure("x", first, 5, sets=20, repositories=50)
    assert (found.busiest, found.busiest_95) == (5.0, 5.0)


def test_a_chooser_that_counts_moves_most_keys() -> None:
    assert balance.measure("x", by_length, 10, sets=5, repositories=500).moved > 5


def test_ours_keeps_its_promises_on_a_sample() -> None:
    found = [balance.measure("kube-builder", balance.ours, count, sets=8, repositories=2000) for count in (2, 5)]
    assert balance.failures(found) == []


def test_what_is_worse_than_promised_is_named() -> None:
    worse = Figures(who="kube-builder", count=10, busiest=1.2, busiest_95=2.0, moved=1.1, moved_95=1.2)
    assert balance.failures([worse]) == ["10 pods: busiest 1.2", "10 pods: moved 1.1"]


def test_the_table_has_a_line_for_each() -> None:
    better = Figures(who="kube-builder", count=2, busiest=1.02, busiest_95=1.05, moved=1.0, moved_95=1.04)
    assert balance.table([better])[1].split() == ["2", "kube-builder", "1.02", "(1.05)", "1.00", "(1.04)"]
