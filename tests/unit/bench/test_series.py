"""What the figures say together."""

import pytest

from bench import report
from bench.measure import Run
from bench.series import Comparison, Contestant, Series, Target, alternate, paired_ratio, retimed


def series(name: str, *seconds: float) -> Series:
    return Series(name=name, runs=tuple(Run(seconds=value, cpu=value / 2, peak=10 * value) for value in seconds))


def comparison(most: float) -> Comparison:
    return Comparison(
        title="a race",
        reference="them",
        series=(series("us", 1.0, 2.0, 6.0), series("them", 2.0, 4.0, 4.0), series("once", 8.0)),
        targets=(Target(ours="us", theirs="them", most=most),),
    )


def test_a_series_is_quoted_by_median_and_minimum() -> None:
    one = series("us", 3.0, 1.0, 2.0)
    assert (one.median, one.minimum, one.cpu, one.peak) == (2.0, 1.0, 1.0, 30.0)


def test_ratios_are_taken_in_pairs() -> None:
    # The second pair ran on a busy machine: its ratio is the same as the first's.
    assert paired_ratio(series("us", 1.0, 10.0, 1.0), series("them", 2.0, 20.0, 2.0)) == 0.5
    assert paired_ratio(series("us", 1.0, 3.0), series("them", 4.0)) == 0.25


def test_contestants_take_turns_and_swap_places() -> None:
    order: list[str] = []

    def contestant(name: str, most_rounds: int | None = None) -> Contestant:
        def perform(number: int) -> Run:
            order.append(f"{name}{number}")
            return Run(seconds=float(number))

        return Contestant(name=name, perform=perform, most_rounds=most_rounds, warm=name == "a")

    found = alternate([contestant("a"), contestant("b"), contestant("c", 1), contestant("d", 0)], 3)
    assert order == ["a-1", "a0", "b0", "c0", "b1", "a1", "a2", "b2"]
    assert [(one.name, len(one.runs)) for one in found] == [("a", 3), ("b", 3), ("c", 1)]


def test_runs_keep_their_memory_when_another_time_is_looked_at() -> None:
    changed = retimed(series("us", 1.0, 2.0), lambda run: run.seconds * 10)
    assert (changed.median, changed.peak) == (15.0, 20.0)


@pytest.mark.parametrize(("most", "verdict"), [(0.5, "met"), (0.4, "MISSED")])
def test_the_table_shows_every_contestant_and_the_target(most: float, verdict: str) -> None:
    lines = list(report.table(comparison(most)))
    assert lines[0] == "a race"
    assert lines[1].endswith("of: them")
    assert lines[2].split() == ["us", "2.000", "s", "1.000", "s", "1.00", "s", "60", "MB", "0.5"]
    assert lines[3].split()[-1] == "1"
    assert lines[4].split()[-1] == "4"
    assert lines[5] == f"  target: us / them at most {most:g}: 0.5, {verdict}"


def test_the_document_keeps_every_value() -> None:
    document = report.document(comparison(0.5))
    assert document["series"][0]["seconds"] == [1.0, 2.0, 6.0]
    assert document["series"][0]["peak"] == [10.0, 20.0, 60.0]
    assert document["targets"] == [{"ours": "us", "theirs": "them", "most": 0.5, "ratio": 0.5, "met": True}]
