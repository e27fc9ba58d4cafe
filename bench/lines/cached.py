"""A fully cached build on a running builder, which measures the client itself."""

from __future__ import annotations

from collections.abc import Iterator

from bench import floor, ours
from bench.arena import Arena
from bench.ground import PLATFORM
from bench.series import Comparison, Contestant, Target, alternate

OURS = "kube-builder"
THEIRS = "buildx, kubernetes driver"
REMOTE = "buildx, remote driver"
FLOOR = "floor: interpreter, grpcio, one call"
TRANSPORTS = ("direct", "port-forward", "exec")
MOST = {"direct": 1 / 1.2, "port-forward": 1.0}
"""Limit for each transport as a fraction of buildx's time."""


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare builds without a result, and with a push of an image that the registry already has."""
    yield _compare(arena, "cached, no output", [], TRANSPORTS)
    if not arena.quick:
        pushed = ["--push", "--tag", arena.ground.reference("cached")]
        yield _compare(arena, "cached, pushed again", pushed, ())


def _compare(arena: Arena, title: str, options: list[str], transports: tuple[str, ...]) -> Comparison:
    ground = arena.ground
    context = ground.example("cached")
    wanted = ["--platform", PLATFORM, *options]

    def ours_by(transport: str) -> Contestant:
        own = [*wanted, "--builder", arena.kept, "--transport", transport]
        return Contestant(name=named(transport), perform=lambda _: ours.build(ground, context, *own), warm=True)

    def theirs(name: str, builder: str) -> Contestant:
        return Contestant(name=name, perform=lambda _: arena.peer.build(builder, context, *wanted), warm=True)

    contestants = [ours_by("auto"), theirs(THEIRS, arena.theirs), theirs(REMOTE, arena.remote)]
    contestants += [ours_by(transport) for transport in transports]
    contestants.append(Contestant(name=FLOOR, perform=floor.one_call(ground, arena.kept), warm=True))
    return Comparison(
        title=f"{title}: the whole process, builder up",
        reference=THEIRS,
        series=alternate(contestants, arena.count(20)),
        targets=tuple(
            Target(ours=named(transport), theirs=THEIRS, most=MOST.get(transport, 1.0))
            for transport in ("auto", *transports)
            if transport != "exec"
        ),
    )


def named(transport: str) -> str:
    """Return kube-builder's name with a transport."""
    return OURS if transport == "auto" else f"{OURS}, {transport}"
