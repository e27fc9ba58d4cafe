"""Logs of several pods, of which one says no."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle import records
from ci_buildx.errors import NotFound
from ci_buildx.manage import logs
from ci_buildx.manage.logs import LogExtract
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.settings.values import ClusterSettings


class Cluster:
    """Two pods: one has no log, the other's goes on until somebody stops."""

    ended = False

    def open_stream(self, path: str, *, stop: threading.Event, **_: Any) -> Iterator[bytes]:
        if "/pods/a/" in path:
            raise NotFound('pods "a" not found', status=404)
        yield b"running\n"
        self.ended = stop.wait(20)


def test_what_one_pod_refuses_is_told_while_the_others_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    location = BuilderLocation(name="kube", namespace="ci", exclusive=False)
    monkeypatch.setattr(logs, "make_kube_client", lambda *_, **__: nullcontext(cluster))
    monkeypatch.setattr(records, "find_builder", lambda *_: SimpleNamespace(location=location, name="kube"))
    monkeypatch.setattr(logs, "_list_pods", lambda *_: ["a", "b"])
    heard: list[tuple[str, str]] = []
    target = BuilderTarget(cluster=ClusterSettings(), namespace="ci", name="kube")
    with pytest.raises(NotFound, match='pods "a" not found'):
        logs.run_logs(target, LogExtract(follow=True), env={}, tell=lambda *said: heard.append(said))
    assert cluster.ended
    assert heard in ([("b", "running")], [])
