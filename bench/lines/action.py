"""Overhead of the Action's wrapper: node, the search for a Python, and a look at the packages."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import measure
from bench.arena import Arena
from bench.ground import PLATFORM, PROJECT
from bench.measure import Run
from bench.series import Comparison, Contestant, Limit, Series, alternate
from devcluster import toolchain

PRODUCT = "python action/start.py action"
WARM = "node action/main.js, warm"
MOST_ADDED = 0.3
"""Limit in seconds for the overhead of a warm start."""


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare a cached build by the product alone and through the wrapper, whose packages are installed."""
    context = arena.ground.example("action")
    given = {"CONTEXT": str(context), "BUILDER": arena.kept, "PLATFORMS": PLATFORM}
    env = arena.ground.env | {f"INPUT_{name}": value for name, value in given.items()}
    env |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF_PROTECTED": "true",
    }  # unprotected refs may not use the builder, which was created manually
    tools = arena.ground.folder / "tools"

    def wrapped() -> Run:
        command = [str(toolchain.node()), str(PROJECT / "action" / "main.js")]
        return measure.run(command, env=env | {"RUNNER_TOOL_CACHE": str(tools)}, cwd=context)

    def alone(_: int) -> Run:
        (packages,) = tools.glob("kube-builder/*/packages")
        command = [
            str(Path(sys.executable).resolve()),
            "-I",
            "-S",
            str(PROJECT / "action" / "start.py"),
            str(packages),
            str(toolchain.node()),
            "github",
        ]
        return measure.run(command, env=env, cwd=context)

    wrapped()
    wrapped()  # the second start compiles
    contestants = [
        Contestant(name=PRODUCT, perform=alone, warm=True),
        Contestant(name=WARM, perform=lambda _: wrapped(), warm=True),
    ]
    series = alternate(contestants, arena.count(20))
    added = Limit(what="seconds added by a warm start", figure=_added(*series[:2]), most=MOST_ADDED)
    yield Comparison(
        title="cached, through the Action's wrapper: the whole process, builder up",
        reference=PRODUCT,
        series=series,
        limits=(added,),
    )


def _added(alone: Series, wrapped: Series) -> float:
    """Return the median of the differences within each round."""
    return statistics.median(b.seconds - a.seconds for a, b in zip(alone.runs, wrapped.runs, strict=True))
