"""Overhead of the Action's wrapper: node, the search for a Python, and on a new runner the installation."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
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
COLD = "node action/main.js, on a new runner"
MOST_ADDED = 0.3
"""Limit in seconds for the overhead of a warm start."""


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare a cached build by the product alone and through the wrapper, with and without its environment."""
    context = arena.ground.example("action")
    given = {"CONTEXT": str(context), "BUILDER": arena.kept, "PLATFORMS": PLATFORM}
    env = arena.ground.env | {f"INPUT_{name}": value for name, value in given.items()}
    env["GITHUB_REF_PROTECTED"] = "true"  # unprotected refs may not use the builder, which was created manually
    tools = arena.ground.folder / "tools"

    def wrapped(cache: Path) -> Run:
        command = [str(toolchain.node()), str(PROJECT / "action" / "main.js")]
        return measure.run(command, env=env | {"RUNNER_TOOL_CACHE": str(cache)}, cwd=context)

    def alone(_: int) -> Run:
        (packages,) = tools.glob("kube-builder/*/packages")
        command = [
            str(Path(sys.executable).resolve()),
            "-I",
            "-S",
            str(PROJECT / "action" / "start.py"),
            str(packages),
            "github",
        ]
        return measure.run(command, env=env, cwd=context)

    def cold(_: int) -> Run:
        with tempfile.TemporaryDirectory(dir=arena.ground.folder) as name:
            return wrapped(Path(name))

    wrapped(tools)
    contestants = [
        Contestant(name=PRODUCT, perform=alone, warm=True),
        Contestant(name=WARM, perform=lambda _: wrapped(tools), warm=True),
        Contestant(name=f"{COLD}, {'uv' if shutil.which('uv') else 'pip'}", perform=cold, most_rounds=3),
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
