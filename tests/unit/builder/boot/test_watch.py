"""What a boot tells whoever waits. That pods come up is shown on a real cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from ci_buildx.builder.boot import watch as boot_watch
from ci_buildx.builder.builder import Builder, BuilderLocation, ClientKeys
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import BootError, NotFound, PodLost, Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.watch import ChangeKind, WatchEvent
from ci_buildx.model.secret import Secret
from tests.unit.builder.boot.cases import NOW, event, running, terminated, unschedulable, waiting
from tests.unit.conftest import DebugLog

NODE = NodePlan(name="amd64", architecture="amd64", platforms=())
BUILDER = Builder(
    location=BuilderLocation(name="x", namespace="x"),
    plan=Plan(nodes=(NODE,)),
    keys=ClientKeys(ca=b"", certificate=b"", key=Secret(b"")),
)


class Slow:
    """A cluster whose one pod runs, and is ready only when somebody has asked for events: the boot is diagnosed."""

    server_time = None

    def __init__(self) -> None:
        self._asked = threading.Event()

    def get(self, _path: str) -> dict[str, Any]:
        raise NotFound("no", status=404)

    def watch(self, path: str, **_: Any) -> Iterator[WatchEvent]:
        if path.endswith("/events"):
            self._asked.set()
            return
        yield WatchEvent(ChangeKind.ADDED, running())
        self._asked.wait()
        yield WatchEvent(ChangeKind.MODIFIED, running(ready=True))


@pytest.mark.parametrize(("answered", "told"), [(False, ["pod buildkit-amd64-x: buildkitd is starting"]), (True, [])])
def test_nothing_is_told_of_a_node_that_has_answered(
    answered: bool, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_watch, "_PATIENCE", 0.0)
    heard: list[str] = []
    kube, deadline = cast("KubeClient", Slow()), time.monotonic() + 60
    with boot_watch.Boot(kube, BUILDER, deadline=deadline, explain=heard.append) as booted:
        pod = booted.wait_until_scheduled(NODE)
        heard.clear()
        if answered:
            booted.record_answer(pod.name)
        booted.wait_until_ready(NODE)
    assert heard == told


class Told:
    """A cluster that lists pods and then tells of what comes, pod by pod, and of events."""

    server_time = NOW

    def __init__(
        self, pods: list[dict[str, Any]], *later: dict[str, Any], events: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self._pods, self._later, self._events = pods, later, events

    def get(self, _path: str) -> dict[str, Any]:
        raise NotFound("no", status=404)

    def watch(self, path: str, *, listed: threading.Event | None = None, **_: Any) -> Iterator[WatchEvent]:
        if path.endswith("/events"):
            yield from (WatchEvent(ChangeKind.ADDED, event) for event in self._events)
            return
        yield from (WatchEvent(ChangeKind.ADDED, pod) for pod in self._pods)
        if listed is not None:
            listed.set()
        yield from (WatchEvent(ChangeKind.MODIFIED, pod) for pod in self._later)


def old(name: str, made: dict[str, Any]) -> dict[str, Any]:
    made["metadata"] |= {"name": name, "creationTimestamp": "2026-05-01T11:00:00Z"}
    return made


def booted(cluster: Told, **more: Any) -> boot_watch.Boot:
    return boot_watch.Boot(cast("KubeClient", cluster), BUILDER, deadline=time.monotonic() + 20, **more)


def test_of_a_lasting_builders_pods_those_that_are_ready_are_chosen_from() -> None:
    going = old("going", running(ready=True))
    going["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    crashing = old("crashing", waiting("CrashLoopBackOff"))
    ready = [old(name, running(ready=True)) for name in ("b", "a")]
    with booted(Told([going, crashing, *ready])) as begun:
        assert [pod.name for pod in begun.wait_until_electable(NODE)] == ["a", "b"]


def test_when_none_of_a_lasting_builders_pods_can_start_the_cause_is_named() -> None:
    pods = [old(name, waiting("InvalidImageName")) for name in ("b", "a")]
    with booted(Told(pods)) as begun, pytest.raises(BootError, match="InvalidImageName"):
        begun.wait_until_electable(NODE)


def test_pods_that_a_change_replaces_do_not_count() -> None:
    outdated, made = old("outdated", running(ready=True)), old("made", running(ready=True))
    with booted(Told([outdated, made]), outdated={"outdated"}) as begun:
        assert [pod.name for pod in begun.wait_until_ready(NODE)] == ["made"]
    failing = old("made", waiting("InvalidImageName"))
    with booted(Told([outdated, failing]), outdated={"outdated"}) as begun, pytest.raises(BootError, match="made"):
        begun.wait_until_ready(NODE)


def test_a_pod_is_up_whatever_becomes_of_the_others() -> None:
    lost = old("lost", terminated(reason="OOMKilled"))
    with booted(Told([lost, old("x", running())], old("x", running(ready=True)))) as begun:
        assert begun.wait_until_up(NODE, "x").ready
        with pytest.raises(BootError, match="OOMKilled"):
            begun.wait_until_up(NODE, "lost")


def test_a_wait_for_a_secret_that_never_comes_ends_with_its_own_fix() -> None:
    late = old("x", waiting("CreateContainerConfigError", 'secret "team" not found'))
    with booted(Told([late])) as begun, pytest.raises(BootError, match='secret "team" not found') as failed:
        begun.deadline = time.monotonic()
        begun.wait_until_ready(NODE)
    assert failed.value.fix == "create the Secret or ConfigMap that the pod refers to: not found"


def test_while_a_node_is_being_made_the_time_to_boot_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_watch, "_PATIENCE", 0.0)
    pending = old("x", unschedulable("0/2 nodes are available"))
    scaling = event("TriggeredScaleUp", "pool 1->2") | {"involvedObject": {"name": "x"}}
    heard: list[str] = []
    stop = threading.Event()
    kube = cast("KubeClient", Told([pending], events=(scaling,)))
    deadline = time.monotonic() + 20
    with boot_watch.Boot(kube, BUILDER, deadline=deadline, explain=heard.append, stop=stop) as begun:
        waiter = threading.Thread(target=lambda: schedule(begun), daemon=True)
        waiter.start()
        while begun.deadline < deadline + 0.2 and waiter.is_alive():
            time.sleep(0.05)
        stop.set()
        waiter.join(10)
    assert begun.deadline >= deadline + 0.2
    assert heard[-1] == "pod x: a cluster node is being added: TriggeredScaleUp: pool 1->2"


def schedule(begun: boot_watch.Boot) -> None:
    with suppress(Stopped):
        begun.wait_until_scheduled(NODE)


def test_a_further_replica_that_is_refused_is_named_at_once() -> None:
    """And a refusal that is older than the pods that were let in after it is not held against them."""
    two = NodePlan(name="amd64", architecture="amd64", replicas=2)
    pod = old("a", running(ready=True))
    pod["metadata"]["creationTimestamp"] = "2026-05-01T12:00:05Z"
    workload = {"involvedObject": {"name": BUILDER.name_workload(two)}}
    refusal = event("FailedCreate", "Error creating: exceeded quota: q, requested: pods=1, used: pods=1") | workload
    for moment, refused in (("2026-05-01T12:00:05Z", True), ("2026-05-01T12:00:01Z", False)):
        with booted(Told([pod], events=({**refusal, "lastTimestamp": moment},))) as begun:
            begun._diagnose()
            while not (begun._seen.events and begun.list_pods(two)):
                time.sleep(0.01)
            error = begun.judge_pod(two).error
        assert isinstance(error, BootError) is refused
        assert begun.judge_pod(two, "a").error is None


def test_a_pod_that_ends_between_ready_and_the_first_answer_is_named_at_once() -> None:
    ended = old("x", terminated(reason="OOMKilled", exitCode=137))
    over = threading.Event()
    with booted(Told([old("x", running(ready=True))], ended)) as begun, pytest.raises(PodLost, match="OOMKilled"):
        begun.watch(NODE, "x", over)


def test_a_pod_is_watched_until_it_has_answered() -> None:
    over = threading.Event()
    with booted(Told([old("x", running(ready=True))])) as begun:
        threading.Timer(0.1, over.set).start()
        begun.watch(NODE, "x", over)
    assert over.is_set()


def test_the_debug_log_tells_what_the_pods_do(debug_log: DebugLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_watch, "_PATIENCE", 0.0)
    with boot_watch.Boot(cast("KubeClient", Slow()), BUILDER, deadline=time.monotonic() + 60) as booted:
        booted.wait_until_ready(NODE)
        booted.record_answer("buildkit-amd64-x")
    lines = debug_log.of("builder")
    assert "node amd64 waits: pod buildkit-amd64-x: buildkitd is starting" in lines
    # Another thread reports the pod, so only the order of its own lines is certain.
    ready, answered = [line for line in lines if line.startswith("pod buildkit-amd64-x: ")][-2:]
    assert ready.startswith("pod buildkit-amd64-x: Running on ")
    assert ready.endswith(", running, ready")
    assert answered == "pod buildkit-amd64-x: buildkitd has answered"


def test_a_pod_that_nothing_reaches_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_watch, "_NOTICEABLE", 0.1)
    heard: list[str] = []
    over = threading.Event()

    def explain(text: str) -> None:
        heard.append(text)
        over.set()

    with booted(Told([old("x", running(ready=True))]), explain=explain) as begun:
        begun.watch(NODE, "x", over)
    assert heard == ["pod x is ready, but no transport has reached buildkitd yet"]
