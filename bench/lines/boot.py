"""Boot: the time from the first create call to buildkitd's first answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench import barepod, ours
from bench.arena import Arena
from bench.ground import PLATFORM
from bench.measure import Run
from bench.series import Comparison, Contestant, Target, alternate

OURS = "kube-builder (phases create, boot)"
FLOOR = "a bare pod that answers"
THEIRS = "buildx create --bootstrap"


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare kube-builder, the floor and buildx; buildx runs few rounds: it waits half a minute for its probe."""
    ground, peer = arena.ground, arena.peer

    def run_ours(_: int) -> Run:
        finished, phases = ours.build_alone(ground, ground.example("boot"), "--platform", PLATFORM)
        return replace(finished, seconds=phases["create"] + phases["boot"])

    def run_theirs(number: int) -> Run:
        name = f"boot{number}"
        try:
            return peer.create(name)
        finally:
            peer.remove(name)

    contestants = [
        Contestant(name=OURS, perform=run_ours, warm=True),
        Contestant(name=FLOOR, perform=lambda _: barepod.boot(ground, peer.namespace), warm=True),
        Contestant(name=THEIRS, perform=run_theirs, most_rounds=0 if arena.quick else 2),
    ]
    yield Comparison(
        title="boot: create call to first answer",
        reference=FLOOR,
        series=alternate(contestants, arena.count(10)),
        targets=(Target(ours=OURS, theirs=FLOOR, most=1.3),),
    )
