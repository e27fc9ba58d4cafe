"""Upload of a context of 200 MB and 5,000 files to a running builder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import content, floor, ours
from bench.arena import Arena
from bench.ground import PLATFORM
from bench.measure import CommandFailed, Run
from bench.series import Comparison, Contestant, Series, Target, alternate, retimed

THEIRS = "buildx, kubernetes driver"
REMOTE = "buildx, remote driver"
TRANSPORTS = ("auto", "direct", "port-forward", "exec")
FLOOR = "floor: the bytes alone"
"""By TCP and by a forwarded port, into a sink in the pod; excludes buildkitd's processing of the files."""
FIRST = {("direct", THEIRS): 1 / 2.5, ("port-forward", THEIRS): 1 / 1.2, ("direct", REMOTE): 1.0}
TOUCHED = {("direct", THEIRS): 1 / 1.5, ("port-forward", THEIRS): 1 / 1.5, ("direct", REMOTE): 1.0}
"""Limits for a transport as a fraction of the other contestant's time."""
_TRANSFER = re.compile(r"transferring context: \S+ ([0-9.]+)s done")

Build = Callable[[Path], Run]


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare a first upload, and one with all small files touched: the whole process, and the transfer alone."""
    source = arena.ground.folder / "upload"
    content.make(source)
    builds = _builds(arena)
    first, again = _Uploads(source, builds), _Uploads(source, builds)
    rounds = arena.count(4)
    small = content.COUNT * content.SMALL
    for title, runs, size, most in (
        ("first upload of 200 MB + 5,000 files", first.contestants(first.fresh), content.BIG + small, FIRST),
        ("the same with 5,000 files touched", again.contestants(again.touched), small, TOUCHED),
    ):
        yield from _both(title, alternate([*runs, *_floors(arena, size)], rounds), most)


def _floors(arena: Arena, size: int) -> list[Contestant]:
    ways = {"direct": floor.raw, "port-forward": floor.forwarded}
    return [
        Contestant(name=f"{FLOOR}, {way}", perform=send(arena.ground, arena.kept, size)) for way, send in ways.items()
    ]


def _builds(arena: Arena) -> dict[str, Build]:
    def by(transport: str) -> Build:
        own = ["--platform", PLATFORM, "--builder", arena.kept, "--transport", transport]
        return lambda context: ours.build(arena.ground, context, *own)

    def theirs(builder: str) -> Build:
        return lambda context: arena.peer.build(builder, context, "--platform", PLATFORM)

    found = {f"kube-builder, {transport}": by(transport) for transport in TRANSPORTS}
    return {**found, THEIRS: theirs(arena.theirs), REMOTE: theirs(arena.remote)}


class _Uploads:
    """The contestants' builds of one folder, renamed for each contestant: buildkitd keeps contexts by name."""

    def __init__(self, source: Path, builds: dict[str, Build]) -> None:
        self.source = source
        self.builds = builds

    def contestants(self, perform: Callable[[str, int], Run]) -> list[Contestant]:
        """Return all contestants; ``perform`` gets the contestant's name and the round."""

        def bound(name: str) -> Callable[[int], Run]:
            return lambda number: perform(name, number)

        return [Contestant(name=name, perform=bound(name)) for name in self.builds]

    def fresh(self, name: str, number: int) -> Run:
        """Build under a new name."""
        with self.renamed(name, f"fresh{number}") as context:
            return self.builds[name](context)

    def touched(self, name: str, number: int) -> Run:
        """Build under the contestant's own name after touching all small files; round 0 builds once before that."""
        with self.renamed(name, "touched") as context:
            if number == 0:
                self.builds[name](context)
            content.touch(context, time.time())
            return self.builds[name](context)

    @contextmanager
    def renamed(self, name: str, suffix: str) -> Iterator[Path]:
        """Rename the folder temporarily."""
        words = re.sub("[^a-z]+", "-", name)
        context = self.source.with_name(f"{self.source.name}-{words}-{suffix}")
        self.source.rename(context)
        try:
            yield context
        finally:
            context.rename(self.source)


def _both(title: str, series: tuple[Series, ...], most: dict[tuple[str, str], float]) -> Iterator[Comparison]:
    targets = tuple(
        Target(ours=f"kube-builder, {transport}", theirs=theirs, most=limit)
        for (transport, theirs), limit in most.items()
    )
    title_of_all = f"{title}: the whole process, builder up"
    yield Comparison(title=title_of_all, reference=THEIRS, series=series, targets=targets)
    transfers = tuple(one if one.name.startswith(FLOOR) else retimed(one, transfer) for one in series)
    yield Comparison(title=f"{title}: the transfer, as buildkitd timed it", reference=THEIRS, series=transfers)


def transfer(run: Run) -> float:
    """Return the seconds of the context's transfer, from the plain progress, which both contestants print alike."""
    found = [float(seconds) for seconds in _TRANSFER.findall(run.output)]
    if not found:
        raise CommandFailed(f"no transfer in the output:\n{run.output[-2000:]}")
    # The .dockerignore is reported in the same words.
    return max(found)
