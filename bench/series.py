"""What many runs say together: series, ratios of pairs, targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.measure import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs of one contestant, in the order of the rounds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def median(self) -> float:
        """The figure to quote, in seconds."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def minimum(self) -> float:
        """The least disturbed run, in seconds."""
        return min(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median processor time in seconds."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        """The largest peak in MB."""
        return max(run.peak for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``ours`` may take at most ``most`` times what ``theirs`` takes."""

    ours: str
    theirs: str
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A ``figure`` that may be at most ``most``; ``what`` says of what, and in which unit."""

    what: str
    figure: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Contestants who did the same in turns. ``reference`` is the one that ratios are taken against."""

    title: str
    reference: str
    series: tuple[Series, ...]
    targets: tuple[Target, ...] = ()
    limits: tuple[Limit, ...] = ()

    def ratio(self, name: str, to: str = "") -> float:
        """What ``name`` takes of what ``to`` (default: the reference) takes; below 1 it is the faster one."""
        return paired_ratio(self.named(name), self.named(to or self.reference))

    def named(self, name: str) -> Series:
        """The series of a contestant. KeyError if there is none."""
        return {series.name: series for series in self.series}[name]


def paired_ratio(one: Series, other: Series) -> float:
    """Median of one/other over pairs of the same round: what disturbs both cancels out.

    Where one has fewer rounds, only those count.
    """
    return statistics.median(a.seconds / b.seconds for a, b in zip(one.runs, other.runs, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Who does what in each round. ``most_rounds`` spares those that take long; ``warm`` runs once before, unseen."""

    name: str
    perform: Callable[[int], Run]
    most_rounds: int | None = None
    warm: bool = False


def alternate(contestants: Sequence[Contestant], rounds: int) -> tuple[Series, ...]:
    """All contestants by turns, every other round in reverse, so that nobody always comes after the same one."""
    for contestant in contestants:
        if contestant.warm:
            contestant.perform(-1)
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            if contestant.most_rounds is None or number < contestant.most_rounds:
                runs[contestant.name].append(contestant.perform(number))
    return tuple(Series(name=name, runs=tuple(found)) for name, found in runs.items() if found)


def retimed(series: Series, seconds: Callable[[Run], float]) -> Series:
    """The same runs with another time, such as that of one phase."""
    return replace(series, runs=tuple(replace(run, seconds=seconds(run)) for run in series.runs))
