"""This checkout beside another one, named by the variable BENCH_BEFORE: is anything slower than it was?

Each has a running builder that it made itself. Without the variable the line has no comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import content, ours
from bench.arena import Arena
from bench.ground import PLATFORM, Ground
from bench.measure import Run
from bench.series import Comparison, Contestant, alternate

TRANSPORTS = ("auto", "direct", "port-forward")


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare cached builds, uploads and whole jobs of both checkouts."""
    if not (named := os.environ.get("BENCH_BEFORE")):
        return
    before = arena.ground.use_checkout(Path(named))
    with ours.kept_builder(before, [PLATFORM]) as kept:
        sides = {"now": (arena.ground, arena.kept), "before": (before, kept)}
        yield from _compare_builds(sides, "cached, no output", arena.count(20), _build_cached)
        yield from _compare_builds(sides, "first upload of 200 MB + 5,000 files", arena.count(5), _build_upload)
    yield _compare_jobs(arena, {name: ground for name, (ground, _) in sides.items()})


def _build_cached(ground: Ground, _: str) -> Callable[..., Run]:
    context = ground.example("before")
    return lambda _, *options: ours.build(ground, context, *options)


def _build_upload(ground: Ground, name: str) -> Callable[..., Run]:
    source = ground.folder / "before-upload"
    if not source.exists():
        content.make(source)

    def build(number: int, *options: str) -> Run:
        # buildkitd keeps contexts by name: a new name is sent as a whole.
        context = source.with_name(f"before-{name}-{number}")
        source.rename(context)
        try:
            return ours.build(ground, context, *options)
        finally:
            context.rename(source)

    return build


def _compare_builds(
    sides: dict[str, tuple[Ground, str]],
    title: str,
    rounds: int,
    prepare: Callable[[Ground, str], Callable[..., Run]],
) -> Iterator[Comparison]:
    for transport in TRANSPORTS:

        def contestant(name: str, transport: str = transport) -> Contestant:
            ground, kept = sides[name]
            build = prepare(ground, f"{name}-{transport}")
            own = ["--platform", PLATFORM, "--builder", kept, "--transport", transport]
            return Contestant(name=name, perform=lambda number: build(number, *own), warm=True)

        yield Comparison(
            title=f"{title}, {transport}: the whole process, builder up",
            reference="before",
            series=alternate([contestant(name) for name in sides], rounds),
        )


def _compare_jobs(arena: Arena, grounds: dict[str, Ground]) -> Comparison:
    def contestant(name: str) -> Contestant:
        ground = grounds[name]

        def run(number: int) -> Run:
            options = ["--platform", PLATFORM, "--push", "--tag", ground.reference(name)]
            argument = f"GREETING={name}{number}"
            return ours.build_alone(ground, ground.example("whole"), *options, "--build-arg", argument)[0]

        return Contestant(name=name, perform=run, warm=True)

    return Comparison(
        title=f"whole job: build, push, teardown ({PLATFORM})",
        reference="before",
        series=alternate([contestant(name) for name in grounds], arena.count(10)),
    )
