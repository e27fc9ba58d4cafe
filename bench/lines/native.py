"""Two architectures, each built on its own cluster node, merged and pushed, with both builders running."""

from __future__ import annotations

from collections.abc import Iterator

from bench import ours
from bench.arena import Arena
from bench.measure import Run
from bench.series import Comparison, Contestant, alternate

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

    with ours.kept_builder(ground, PLATFORMS) as own, peer.builder(ARCHITECTURES) as theirs:

        def run_ours(greeting: str) -> Run:
            return ours.build(ground, context, *options("ours", greeting), "--builder", own)

        def run_theirs(greeting: str) -> Run:
            return peer.build(theirs, context, *options("theirs", greeting))

        fresh = [
            Contestant(name=OURS, perform=lambda number: run_ours(str(number)), warm=True),
            Contestant(name=THEIRS, perform=lambda number: run_theirs(str(number)), warm=True),
        ]
        cached = [
            Contestant(name=OURS, perform=lambda _: run_ours("same"), warm=True),
            Contestant(name=THEIRS, perform=lambda _: run_theirs("same"), warm=True),
        ]
        for title, contestants, usual in (("steps to run", fresh, 6), ("all cached", cached, 10)):
            yield Comparison(
                title=f"two architectures on two nodes, merged and pushed, {title}: the whole process, builder up",
                reference=THEIRS,
                series=alternate(contestants, arena.count(usual)),
            )
