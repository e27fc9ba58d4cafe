"""Which nodes of a lasting builder are asked what they run before platforms are given to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_buildx.build import start_on_use
from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.context import origin, sticky_key
from ci_buildx.build.start_on_use import list_undecided_nodes
from ci_buildx.builder.lifecycle import create
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import InputError, LateInputError
from ci_buildx.model import platform

AMD64, ARM64 = platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")
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
    assert bool(list_undecided_nodes([node], wanted)) is asked


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
    record = SimpleNamespace(name="x", make_builder=lambda _: builder, find_node=lambda _: node)
    monkeypatch.setattr(create, "read_usable_secret", lambda *_, **__: {})
    monkeypatch.setattr(create, "scale_nodes", lambda *given: scaled.append(given))
    monkeypatch.setattr(origin, "check_trust", lambda *_: None)
    monkeypatch.setattr(sticky_key, "make_sticky_key", lambda *_: "")
    monkeypatch.setattr(start_on_use, "BootWakeup", lambda **_: SimpleNamespace(boot_nodes=lambda _: {}))
    monkeypatch.setattr(start_on_use, "add_platforms", lambda *_: informed)
    settings = SimpleNamespace(build=SimpleNamespace(platforms=(ARM64,)), builder=SimpleNamespace(timeout=1))
    display = SimpleNamespace(note=lambda *_: None, warn=None)
    site = cast("BuildRun", SimpleNamespace(kube=None, settings=settings, display=display, stop=None, env={}))
    with pytest.raises(kind, match="--platform: no node of the builder builds linux/arm64") as caught:
        start_on_use.start_needed_nodes(site, cast("Any", record))
    assert type(caught.value) is kind
    assert bool(scaled) is stopped
