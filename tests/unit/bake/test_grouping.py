"""Which targets are built in the same pod, and when a group's pods are chosen and given up."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from ci_buildx.bake.grouping import group_linked
from ci_buildx.bake.jobs import TargetJob
from ci_buildx.build.context import sticky_key
from ci_buildx.build.target_pods import GroupPlace, SharedConnections, TargetGroup
from ci_buildx.errors import KubeError, Stopped
from ci_buildx.settings.names import StickyKey
from ci_buildx.settings.values import BuildSettings, Settings


def make_job(name: str, **contexts: str) -> TargetJob:
    """A target with contexts that are other targets."""
    return TargetJob(name=name, settings=cast("Settings", None), contexts=contexts)


@pytest.mark.parametrize(
    ("jobs", "groups"),
    [
        ([make_job("a"), make_job("b")], ["a", "b"]),
        ([make_job("a", x="b"), make_job("b"), make_job("c")], ["ab", "c"]),
        ([make_job("a", x="c"), make_job("b", x="c"), make_job("c"), make_job("d")], ["abc", "d"]),
        (
            [make_job("a", x="b"), make_job("b", y="c"), make_job("c"), make_job("d", x="e"), make_job("e")],
            ["abc", "de"],
        ),
        ([make_job("a"), make_job("b"), make_job("c", x="a", y="b")], ["abc"]),
    ],
)
def test_targets_that_need_each_other_are_one_group(jobs: list[TargetJob], groups: list[str]) -> None:
    assert ["".join(job.name for job in group) for group in group_linked(jobs)] == groups


def test_the_pods_of_a_group_are_chosen_once_and_given_up_by_its_last_target() -> None:
    log: list[str] = []

    def place() -> GroupPlace:
        log.append("chosen")
        return GroupPlace(connections=(), find=cast("Any", None), close=lambda: log.append("given up"))

    group = TargetGroup(["a", "b"], place)
    assert group.reach() is group.reach()
    group.leave("a")
    group.leave("a")
    assert log == ["chosen"]
    group.leave("b")
    assert log == ["chosen", "given up"]


def test_one_target_reports_that_no_pod_was_found_the_others_of_its_group_stop() -> None:
    def place() -> GroupPlace:
        raise KubeError("no pod")

    group = TargetGroup(["a", "b"], place)
    with pytest.raises(KubeError, match="no pod"):
        group.reach()
    with pytest.raises(Stopped):
        group.reach()
    group.leave("a")
    group.leave("b")


def test_a_group_that_began_nothing_gives_nothing_up() -> None:
    group = TargetGroup(["a"], cast("Any", None))
    group.leave("a")


def test_targets_in_a_pod_share_its_connection_until_it_breaks() -> None:
    made: list[Any] = []
    seats = SharedConnections()
    wait = threading.Barrier(4)

    def connect() -> Any:
        made.append(object())
        return made[-1]

    found: list[Any] = []

    def use() -> None:
        wait.wait()
        found.append(seats.reuse("one", None, connect))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [made[0]] * 4
    assert seats.reuse("two", None, connect) is made[1]
    renewed = seats.reuse("one", made[0], connect)
    assert renewed is made[2]
    assert seats.reuse("one", made[0], connect) is renewed, "another target has connected again already"


def test_a_failed_connection_is_tried_again_by_the_next_target() -> None:
    def fail() -> Any:
        raise KubeError("cut")

    seats, winner = SharedConnections(), cast("Any", object())
    with pytest.raises(KubeError):
        seats.reuse("one", None, fail)
    assert seats.reuse("one", None, lambda: winner) is winner


@pytest.mark.parametrize(
    ("template", "target", "key"),
    [
        ("{repo}/{path}", "", "team/app"),
        ("{repo}/{path}", "web", "team/app#web"),
        ("{repo}", "web", "team/app"),
        ("x-{repo}", "web", "x-team/app"),
    ],
)
def test_the_default_key_has_the_targets_name(template: str, target: str, key: str) -> None:
    build = BuildSettings(context="https://git.example/team/app.git", dockerfile=None)
    settings = Settings(build=build, sticky_key=StickyKey(template=template))
    assert sticky_key.make_sticky_key(settings, (), {}, target=target) == key
