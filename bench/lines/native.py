"""Two architectures, each built on its own cluster node, merged and pushed, with both builders running.

The last comparison counts lines of the plain log, including the boot and the removal of a builder: ours is a job of its
own, and to those of buildx's build in an emptied builder come those of `buildx create --bootstrap` and `buildx rm`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench import ours
from bench.arena import Arena
from bench.measure import Run
from bench.series import Comparison, Contestant, Limit, Series, alternate, pair_fresh_and_cached

ARCHITECTURES = ("amd64", "arm64")
PLATFORMS = [f"linux/{architecture}" for architecture in ARCHITECTURES]
OURS = "kube-builder"
THEIRS = "buildx, kubernetes driver"


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare builds with steps to run, and fully cached builds."""
    ground, peer = arena.ground, arena.peer
    context = ground.example("native")

    def options(who: str, greeting: str) -> list[str]:
        wanted = ["--platform", ",".join(PLATFORMS), "--push", "--tag", ground.reference(f"native-{who}")]
        return [*wanted, "--build-arg", f"GREETING={greeting}"]

    around: list[Run] = []
    with ours.kept_builder(ground, PLATFORMS) as own, peer.builder(ARCHITECTURES, around=around) as theirs:

        def run_ours(greeting: str) -> Run:
            return ours.build(ground, context, *options("ours", greeting), "--builder", own)

        def run_theirs(greeting: str) -> Run:
            return peer.build(theirs, context, *options("theirs", greeting))

        fresh, cached = pair_fresh_and_cached({OURS: run_ours, THEIRS: run_theirs})
        for title, contestants, usual in (("steps to run", fresh, 6), ("all cached", cached, 10)):
            yield Comparison(
                title=f"two architectures on two nodes, merged and pushed, {title}: the whole process, builder up",
                reference=THEIRS,
                series=alternate(contestants, arena.count(usual)),
            )

        def run_alone(number: int) -> Run:
            # Without a metadata file, as buildx: with one, both have lines about it.
            own = ["--buildkitd-config", str(ground.buildkitd_config)]
            return ours.build(ground, context, *own, *options("alone", f"line {number}"))

        def run_emptied(number: int) -> Run:
            # A new builder's build also has the lines of the base image's download.
            peer.call("prune", "--builder", theirs, "--all", "--force")
            return run_theirs(f"line {number}")

        logged = [
            Contestant(name=OURS, perform=run_alone),
            Contestant(name=THEIRS, perform=run_emptied),
        ]
        series = alternate(logged, arena.count(5))
    yield Comparison(
        title="the same with a builder of its own: lines of the plain log",
        reference=THEIRS,
        series=series,
        limits=(limit_lines(*series, around=around),),
    )


def limit_lines(own: Series, theirs: Series, *, around: Sequence[Run] = ()) -> Limit:
    """Return the limit of the plain log's lines: those that buildx writes for the same build; medians of both.

    ``around`` are the commands that created and removed buildx's builder.
    """
    most = statistics.median(count_lines(run) for run in theirs.runs) + sum(map(count_lines, around))
    figure = statistics.median(count_lines(run) for run in own.runs)
    return Limit(what="lines of the plain log, as many as buildx's", figure=figure, most=most)


def count_lines(run: Run) -> int:
    """Return the number of lines that a run has printed, blank ones too."""
    return len(run.output.splitlines())
