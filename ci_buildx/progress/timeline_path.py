"""Which runs of which steps the end of a build waited for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    everything = sorted((run for own in runs.values() for run in own), key=lambda run: (run.end, run.begin))
    if not everything:
        return []
    chain = [everything[-1]]
    seen = {chain[0]}
    while True:
        now = chain[-1]
        inputs = [run for step in graph.inputs(now.step) for run in runs.get(id(step), ())]
        before = [run for run in (*inputs, *runs[id(now.step)]) if _precedes(run, now) and run not in seen]
        before = before or [run for run in _around(now, everything) if _precedes(run, now) and run not in seen]
        if not before:
            return chain[::-1]
        chain.append(max(before, key=lambda run: (run.end, run.begin)))
        seen.add(chain[-1])


def _around(now: Run, everything: Sequence[Run]) -> Iterator[Run]:
    """What a run that names no inputs can have waited for; nobody waits for what comes from the cache."""
    node = now.step.key[0]
    for run in everything:
        if run.step.cached:
            continue
        if now.step.ours or run.step.ours or run.step.key[0] == node:
            yield run


def _precedes(run: Run, now: Run) -> bool:
    return run.end <= now.begin + TOLERANCE and run.begin <= now.begin
