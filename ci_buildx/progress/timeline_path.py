"""Which runs of which steps the end of a build waited for. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from ci_buildx.progress.graph import Graph
from ci_buildx.progress.step import Step

TOLERANCE = 0.002
"""Seconds by which a step may seem to begin before what it waited for ended: clocks of nodes are only that exact."""


class Run(NamedTuple):
    """A step at work, by our clock (seconds since the epoch)."""

    step: Step
    begin: float
    end: float


def critical(graph: Graph, runs: Mapping[int, Sequence[Run]]) -> list[Run]:
    """The chain from the run that ended last back to the beginning, in the order of time.

    ``runs`` holds those of each step by the step's ``id()``. A run waited for whichever of its inputs, or of its own
    earlier runs, ended last. Where there is none of these (sources, exports; BuildKit names no inputs of our own phases
    either) it is taken to have waited for what ended last before it on its node, or anywhere for a phase of ours.
    """
    everything = sorted((run for own in runs.values() for run in own), key=_by_end)
    if not everything:
        return []
    ends = [run.end for run in everything]
    failed = any(run.step.failed for run in everything)
    chain = [everything[-1]]
    seen = {chain[0]}
    while True:
        now = chain[-1]
        inputs = [run for step in graph.inputs(now.step) for run in runs.get(id(step), ())]
        known = [run for run in (*inputs, *runs[id(now.step)]) if _precedes(run, now) and run not in seen]
        last = max(known, key=_by_end, default=None)
        if last is None:
            ended = islice(reversed(everything), len(ends) - bisect_right(ends, now.begin + TOLERANCE), None)
            candidates = (run for run in ended if _precedes(run, now) and run not in seen)
            last = next((run for run in candidates if _may_hold_up(run, now, failed=failed)), None)
        if last is None:
            return chain[::-1]
        chain.append(last)
        seen.add(last)


def _by_end(run: Run) -> tuple[float, float]:
    return run.end, run.begin


def _may_hold_up(run: Run, now: Run, *, failed: bool) -> bool:
    """Whether a run that names no inputs can have waited for another.

    Nobody waits for what comes from the cache, nor for what was stopped because something else had failed.
    """
    if run.step.cached or (failed and run.step.canceled):
        return False
    return now.step.ours or run.step.ours or run.step.key[0] == now.step.key[0]


def _precedes(run: Run, now: Run) -> bool:
    return run.end <= now.begin + TOLERANCE and run.begin <= now.begin
