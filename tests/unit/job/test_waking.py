"""Which nodes of a lasting builder are asked what they run before platforms are given to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_buildx.builder import lasting
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import InputError, LateInputError
from ci_buildx.job import origin, stickiness, waking
from ci_buildx.job.site import Site
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


@pytest.mark.parametrize(("stopped", "kind"), [(True, LateInputError), (False, InputError)])
def test_a_platform_that_no_node_turns_out_to_build(
    stopped: bool, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once pods were started for it, it is no error after which nothing was created."""
    scaled: list[Any] = []
    other = NodePlan(name="x1", architecture="s390x")
    builder = SimpleNamespace(plan=Plan(nodes=(other,)), timeout=None)
    informed = SimpleNamespace(plan=Plan(nodes=()), timeout=None)
    node = SimpleNamespace(name="x1", stopped=stopped)
    record = SimpleNamespace(name="x", builder=lambda _: builder, node=lambda _: node)
    monkeypatch.setattr(lasting, "secret_for_use", lambda *_, **__: {})
    monkeypatch.setattr(lasting, "scale", lambda *given: scaled.append(given))
    monkeypatch.setattr(origin, "check_trust", lambda *_: None)
    monkeypatch.setattr(stickiness, "key", lambda *_: "")
    monkeypatch.setattr(waking, "Bell", lambda **_: SimpleNamespace(ring=lambda _: {}))
    monkeypatch.setattr(waking, "informed", lambda *_: informed)
    settings = SimpleNamespace(build=SimpleNamespace(platforms=(ARM64,)), builder=SimpleNamespace(timeout=1))
    display = SimpleNamespace(note=lambda *_: None, warn=None)
    site = cast("Site", SimpleNamespace(kube=None, settings=settings, display=display, stop=None, env={}))
    with pytest.raises(kind, match="--platform: no node of the builder builds linux/arm64") as caught:
        waking.awake(site, cast("Any", record))
    assert type(caught.value) is kind
    assert bool(scaled) is stopped
