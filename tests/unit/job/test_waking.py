"""Which nodes of a lasting builder are asked what they run before platforms are given to them."""

from __future__ import annotations

import pytest

from ci_buildx.builder.plan import NodePlan
from ci_buildx.job.waking import undecided
from ci_buildx.model import platform

AMD64, ARM64 = platform.parse("linux/amd64"), platform.parse("linux/arm64")
NEW = NodePlan(name="x0", architecture="amd64")
"""Made without --bootstrap: nobody has asked it yet, and its emulators may run more than its own platform."""


@pytest.mark.parametrize(
    ("node", "wanted", "asked"),
    [
        (NEW, [], False),
        (NEW, [AMD64], False),
        (NEW, [ARM64], True),
        (NEW, [AMD64, ARM64], True),
        (NodePlan(name="x0", architecture="amd64", platforms=(ARM64,)), [ARM64], False),
        (NodePlan(name="x0", architecture="amd64", runs=(AMD64,)), [ARM64], False),
        (NodePlan(name="x0", architecture=None), [ARM64], False),
    ],
)
def test_a_builder_that_never_booted_boots_before_its_platforms_are_judged(
    node: NodePlan, wanted: list[platform.Platform], asked: bool
) -> None:
    assert bool(undecided([node], wanted)) is asked
