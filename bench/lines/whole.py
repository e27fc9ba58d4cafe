"""The whole job: create a builder, build, push and remove the builder."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench import ours
from bench.arena import Arena
from bench.ground import PLATFORM
from bench.measure import Run
from bench.series import Comparison, Contestant, Limit, Target, alternate

OURS = "kube-builder, from nothing"
THEIRS = "buildx, from nothing"
UP = "buildx, its builder already up"
MOST_SILENT = 0.3
"""Limit in seconds for the first line of output: a log that stays empty looks as if nothing runs."""


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare whole jobs of kube-builder and buildx, and a build alone on a running buildx builder."""
    ground, peer = arena.ground, arena.peer

    def options(who: str, number: int) -> list[str]:
        # Each build must run its steps: the running builder must not answer from its cache.
        argument = f"GREETING={who}{number}"
        return ["--platform", PLATFORM, "--push", "--tag", ground.reference(who), "--build-arg", argument]

    def run_ours(number: int) -> Run:
        return ours.build_alone(ground, ground.example("whole"), *options("ours", number))[0]

    def run_theirs(number: int) -> Run:
        name = f"whole{number}"
        created = peer.create(name)
        try:
            built = peer.build(name, ground.example("whole"), *options("theirs", number))
        finally:
            removed = peer.remove(name)
        return total(created, built, removed)

    def run_up(number: int) -> Run:
        return peer.build(arena.theirs, ground.example("whole"), *options("up", number))

    rounds = arena.count(3)
    contestants = [
        Contestant(name=OURS, perform=run_ours, warm=True),
        Contestant(name=THEIRS, perform=run_theirs),
        Contestant(name=UP, perform=run_up, warm=True),
    ]
    series = alternate(contestants, rounds)
    first = statistics.median(run.first for run in series[0].runs)
    yield Comparison(
        title=f"whole job: build, push, teardown ({PLATFORM})",
        reference=THEIRS,
        series=series,
        targets=(Target(ours=OURS, theirs=THEIRS, most=0.1),),
        limits=(Limit(what="seconds to the first line of output", figure=first, most=MOST_SILENT),),
    )


def total(*runs: Run) -> Run:
    """Sum up several commands as one run."""
    return Run(
        seconds=sum(run.seconds for run in runs),
        cpu=sum(run.cpu for run in runs),
        peak=max(run.peak for run in runs),
        output="".join(run.output for run in runs),
    )
