"""What a boot tells whoever waits. That pods come up is shown on a real cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from ci_buildx.builder import boot
from ci_buildx.builder.builder import Builder, ClientKeys, Location
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.watch import Change, WatchEvent
from ci_buildx.model.secret import Secret
from tests.unit.builder.cases import running

NODE = NodePlan(name="amd64", architecture="amd64", platforms=())
BUILDER = Builder(
    location=Location(name="x", namespace="x"),
    plan=Plan(nodes=(NODE,)),
    keys=ClientKeys(ca=b"", certificate=b"", key=Secret(b"")),
)
READY = [{"type": "Ready", "status": "True"}]


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
        yield WatchEvent(Change.ADDED, running())
        self._asked.wait()
        yield WatchEvent(Change.MODIFIED, running(conditions=READY))


@pytest.mark.parametrize(("answered", "told"), [(False, ["pod buildkit-amd64-x: buildkitd is starting"]), (True, [])])
def test_nothing_is_told_of_a_node_that_has_answered(
    answered: bool, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "_PATIENCE", 0.0)
    heard: list[str] = []
    kube, deadline = cast("KubeClient", Slow()), time.monotonic() + 60
    with boot.Boot(kube, BUILDER, deadline=deadline, explain=heard.append) as booted:
        pod = booted.scheduled(NODE)
        heard.clear()
        if answered:
            booted.answered(pod.name)
        booted.ready(NODE)
    assert heard == told
