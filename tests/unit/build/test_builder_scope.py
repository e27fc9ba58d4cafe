"""A job's builder where a signal comes while it is planned, and what a job does for others."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_buildx.build import builder_scope, run
from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.errors import InputError, Interrupted, LateInputError, SolveError, Stopped, TeardownError
from ci_buildx.runtime.signals import SignalHandler
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import Settings

IDENTITY = JobIdentity(name="kube-builder-app-1-x", labels={})


def test_a_builder_that_was_planned_when_a_signal_came_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts, ended = SignalHandler(), threading.Event()
    announced: list[BuilderLocation] = []
    settings = SimpleNamespace(builder_name="", keep=False, builder=BuilderSettings())
    site = cast("BuildRun", SimpleNamespace(settings=settings, stop=interrupts.stop))

    def planned(_site: BuildRun, _identity: JobIdentity, begin_with: Any) -> tuple[Builder, bool]:
        interrupts._receive(signal.SIGTERM, None)
        assert interrupts.stop.wait(20)
        try:
            begin_with(BuilderLocation(name=IDENTITY.name, namespace=IDENTITY.name))
        except Stopped:
            ended.set()
            raise
        raise AssertionError("it was begun")

    monkeypatch.setattr(builder_scope, "create_builder", planned)
    with pytest.raises(Interrupted), builder_scope.open_builder(site, interrupts, IDENTITY, announced.append):
        pass
    assert ended.is_set()
    assert announced == []


@pytest.mark.parametrize(
    ("builder_name", "namespace", "tidies"), [("", "", True), ("kube", "", False), ("", "ci", False)]
)
def test_who_looks_for_what_others_left(builder_name: str, namespace: str, tidies: bool) -> None:
    settings = SimpleNamespace(builder_name=builder_name, builder=BuilderSettings(namespace=namespace))
    assert run.is_reaping_allowed(cast("Settings", settings)) is tidies


@pytest.mark.parametrize("failing", [False, True])
def test_what_cannot_be_removed_does_not_change_the_outcome(failing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    settings = SimpleNamespace(builder_name="", keep=False, builder=BuilderSettings())
    display = SimpleNamespace(warn=warnings.append)
    interrupts = SignalHandler()
    site = cast("BuildRun", SimpleNamespace(settings=settings, stop=interrupts.stop, display=display))

    def made(_site: BuildRun, _identity: JobIdentity, begin_with: Any) -> tuple[Builder, bool]:
        begin_with(BuilderLocation(name=IDENTITY.name, namespace=IDENTITY.name))
        return cast("Builder", None), True

    def refuse(*_: object, **__: object) -> None:
        raise TeardownError("not removed: namespace x")

    monkeypatch.setattr(builder_scope, "create_builder", made)
    monkeypatch.setattr(builder_scope, "remove_builder", refuse)
    try:
        with builder_scope.open_builder(site, interrupts, IDENTITY, lambda _: None):
            if failing:
                raise SolveError("failed to solve")
    except SolveError as error:
        assert error.__notes__ == ["not removed: namespace x"]
    assert warnings == ([] if failing else ["the build succeeded, but its clean-up failed: not removed: namespace x"])


@pytest.mark.parametrize("begun", [False, True])
def test_bad_input_ends_with_two_only_where_nothing_was_created(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/reference/options.md promises."""
    settings = SimpleNamespace(builder_name="", keep=False, builder=BuilderSettings())
    interrupts = SignalHandler()
    site = cast("BuildRun", SimpleNamespace(settings=settings, stop=interrupts.stop))
    removed: list[BuilderLocation] = []

    def made(_site: BuildRun, _identity: JobIdentity, begin_with: Any) -> tuple[Builder, bool]:
        if begun:
            begin_with(BuilderLocation(name=IDENTITY.name, namespace=IDENTITY.name))
            return cast("Builder", None), True
        raise InputError("is wrong", source="--x", fix="write it so")

    monkeypatch.setattr(builder_scope, "create_builder", made)
    monkeypatch.setattr(builder_scope, "remove_builder", lambda _site, location, **_: removed.append(location))
    with (
        pytest.raises(LateInputError if begun else InputError) as caught,
        builder_scope.open_builder(site, interrupts, IDENTITY, lambda _: None),
    ):
        raise InputError("is wrong", source="--x", fix="write it so")
    assert str(caught.value) == "--x: is wrong; write it so"
    assert caught.value.exit_code == (1 if begun else 2)
    assert bool(removed) is begun
