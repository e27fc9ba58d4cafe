"""`devcluster up` with its programs already built: a second cluster in addition to the one of the other lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from bench import measure
from bench.arena import Arena
from bench.ground import PROJECT
from bench.measure import Run
from bench.series import Comparison, Contestant, alternate

NAME = "bench"
UP = "python -m devcluster up"


def compare(arena: Arena) -> Iterator[Comparison]:
    """Measure the start of a cluster until it is healthy."""
    series = alternate([Contestant(name=UP, perform=lambda _: up())], arena.count(2))
    yield Comparison(title="a warm devcluster: from nothing to healthy", reference=UP, series=series)


def up() -> Run:
    """Start the cluster and remove it again."""
    try:
        return devcluster("up")
    finally:
        devcluster("down")


def devcluster(verb: str) -> Run:
    """Run a verb of the devcluster."""
    return measure.run([sys.executable, "-m", "devcluster", "--name", NAME, verb], env=os.environ, cwd=PROJECT)
