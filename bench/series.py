"""Statistics of many runs: series, ratios of pairs, targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.measure import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs of one contestant, in the order of the rounds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def median(self) -> float:
        """Median in seconds, the figure to quote."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def minimum(self) -> float:
        """Time of the least disturbed run, in seconds."""
        return min(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median of the processor time in seconds."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        """Largest peak in MB."""
        return max(run.peak for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target: ``ours`` may take at most ``most`` times as long as ``theirs``."""

    ours: str
    theirs: str
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A ``figure`` that may be at most ``most``; ``what`` names the quantity and its unit."""

    what: str
    figure: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Series of contestants that alternated at the same task. ``reference`` is the base of ratios."""

    title: str
    reference: str
    series: tuple[Series, ...]
    targets: tuple[Target, ...] = ()
    limits: tuple[Limit, ...] = ()

    def ratio(self, name: str, to: str = "") -> float:
        """Return the time of ``name`` divided by that of ``to`` (default: the reference); below 1 it is faster."""
        return paired_ratio(self.named(name), self.named(to or self.reference))

    def named(self, name: str) -> Series:
        """Return the series of a contestant. Raises KeyError for an unknown one."""
        return {series.name: series for series in self.series}[name]


def paired_ratio(one: Series, other: Series) -> float:
    """Return the median of one/other over pairs of the same round: disturbances of both cancel out.

    If one has fewer rounds, only those count.
    """
    return statistics.median(a.seconds / b.seconds for a, b in zip(one.runs, other.runs, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A contestant and its task in each round. ``most_rounds`` limits slow ones; ``warm`` adds an unmeasured run."""

    name: str
    perform: Callable[[int], Run]
    most_rounds: int | None = None
    warm: bool = False


def pair_fresh_and_cached(runs: Mapping[str, Callable[[str], Run]]) -> tuple[list[Contestant], list[Contestant]]:
    """Return the contestants of builds with steps to run, and of builds whose steps are all cached.

    A run gets a text that the build depends on: another one for each round, or always the same.
    """

    def make(perform: Callable[[str], Run], text: str) -> Callable[[int], Run]:
        return lambda number: perform(text or str(number))

    fresh, cached = (
        [Contestant(name=name, perform=make(perform, text), warm=True) for name, perform in runs.items()]
        for text in ("", "same")
    )
    return fresh, cached


def alternate(contestants: Sequence[Contestant], rounds: int) -> tuple[Series, ...]:
    """Run all contestants in turn; reverse every other round, so that none always follows the same one."""
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
    """Return the same runs with another time, such as that of one phase."""
    return replace(series, runs=tuple(replace(run, seconds=seconds(run)) for run in series.runs))
