"""Teardown where the API server says no, or nothing. What works is shown on a real cluster."""

import threading
import time
from typing import Any, cast

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle.teardown import TeardownReport, explain_stuck, teardown
from ci_buildx.errors import Forbidden, KubeError, NotFound, TeardownError, Throttled
from ci_buildx.kube.client import KubeClient

NAME = "kube-builder-app-1-x"
OWN = BuilderLocation(name=NAME, namespace=NAME)
SHARED = BuilderLocation(name=NAME, namespace="team", exclusive=False)


class Refusing:
    """An API server that refuses what is named; everything else works."""

    def __init__(self, refused: dict[str, KubeError], *, marked: bool = True) -> None:
        self.refused = refused
        self.deleted: list[str] = []
        marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: NAME} if marked else {}
        self.namespace: dict[str, Any] = {"kind": "Namespace", "metadata": {"uid": "1", "labels": marks}}

    def get(self, path: str) -> dict[str, Any]:
        if failure := self.refused.get("get"):
            raise failure
        return self.namespace

    def delete(self, path: str, *, options: dict[str, Any], **query: Any) -> dict[str, Any]:
        what = path.rpartition("/")[2]
        if failure := self.refused.get(what):
            raise failure
        self.deleted.append(what)
        return self.namespace


def run(server: Refusing, location: BuilderLocation = OWN, seconds: float = 30.0) -> TeardownReport:
    return teardown(cast("KubeClient", server), location, deadline=time.monotonic() + seconds)


def test_compute_goes_first() -> None:
    server = Refusing({})
    assert run(server).left == ()
    assert server.deleted == ["jobs", "pods", NAME]


def test_a_refusal_does_not_stop_the_rest() -> None:
    server = Refusing({"jobs": Throttled("slow", status=429), "pods": Throttled("busy", status=429)})
    report = run(server)
    assert server.deleted == [NAME]
    assert len(report.left) == 2
    assert report.notes == ("slow", "busy")


def test_the_namespace_takes_along_what_a_reaper_may_not_touch() -> None:
    denied: dict[str, KubeError] = {"jobs": Forbidden("no jobs", status=403), "pods": Forbidden("no pods", status=403)}
    report = run(Refusing(denied))
    assert (report.left, report.notes) == ((), ("no jobs", "no pods"))
    kept = run(Refusing({**denied, NAME: Forbidden("no namespaces", status=403)}))
    assert len(kept.left) == 3


@pytest.mark.parametrize("seen_going", [True, False])
def test_a_namespace_that_goes_already_takes_along_the_right_to_it(seen_going: bool) -> None:
    refused = ("jobs", "pods", "rolebindings", NAME)
    denied: dict[str, KubeError] = {what: Forbidden(f"no {what}", status=403) for what in refused}
    server = Leaving(denied, seen_going=seen_going)
    report = run(server)
    assert (report.left, server.deleted) == ((), [])
    assert bool(server.entered) != seen_going


class Leaving(Refusing):
    """The namespace of a job that lets itself in, which another has begun to remove, perhaps since it was read."""

    def __init__(self, refused: dict[str, KubeError], *, seen_going: bool) -> None:
        super().__init__(refused)
        self.namespace["metadata"] |= {"name": NAME, "annotations": {labels.CREATOR: "ci"}}
        self.going = seen_going
        self.entered = False

    def get(self, path: str) -> dict[str, Any]:
        going = {"deletionTimestamp": "2026-11-25T10:00:00Z"} if self.going else {}
        self.going = True
        return {**self.namespace, "metadata": {**self.namespace["metadata"], **going}}

    def create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.entered = True
        raise self.refused[path.rpartition("/")[2]]


def test_in_anothers_namespace_keys_go_too() -> None:
    server = Refusing({"jobs": Forbidden("no", status=403)})
    report = run(server, SHARED)
    assert server.deleted == ["pods", "secrets", "configmaps"]
    assert report.left == (f"jobs of builder {NAME} in namespace team",)


def test_a_job_that_appears_in_anothers_namespace_meanwhile_goes_too() -> None:
    """Its maker was killed while the request was under way."""

    class Late(Refusing):
        looks = 0

        def list(self, path: str, **_: Any) -> dict[str, Any]:
            self.looks += 1
            return {"items": [{}] if self.looks == 2 else []}

    server = Late({})
    report = teardown(cast("KubeClient", server), SHARED, deadline=time.monotonic() + 30, settle=0.6)
    assert (report.left, server.deleted) == ((), ["jobs", "pods", "jobs", "pods", "secrets", "configmaps"])
    assert server.looks >= 2


def test_what_cannot_be_read_is_not_deleted() -> None:
    server = Refusing({"get": Forbidden("no", status=403)})
    assert run(server).left == (f"namespace {NAME}",)
    assert server.deleted == []


def test_what_is_not_marked_is_not_deleted() -> None:
    server = Refusing({}, marked=False)
    assert run(server).left == (f"namespace {NAME}",)
    assert server.deleted == []


def test_what_vanished_meanwhile_is_fine() -> None:
    gone = NotFound("gone", status=404)
    assert run(Refusing({"jobs": gone, "pods": gone, NAME: gone})) == TeardownReport()


def test_a_server_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    class Hanging(Refusing):
        def delete(self, path: str, *, options: dict[str, Any], **query: Any) -> dict[str, Any]:
            release.wait(30)
            return {}

    report = run(Hanging({}), seconds=0.05)
    release.set()
    assert report.left == (f"namespace {NAME}",)
    assert report.notes == ("the API server did not answer in time",)


def test_check_raises_what_is_left() -> None:
    TeardownReport(removed=("namespace x",)).check()
    with pytest.raises(TeardownError, match="not removed: namespace x: no; kube-builder reap") as caught:
        TeardownReport(left=("namespace x",), notes=("no",)).check()
    assert caught.value.left == ("namespace x",)


def test_a_namespace_that_sticks_says_why() -> None:
    server = Refusing({})
    server.namespace["status"] = {
        "conditions": [
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods."},
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"},
        ]
    }
    assert run(server).notes == (f"namespace {NAME} is being deleted: Some resources are remaining: pods.",)


def test_finalizers_are_named() -> None:
    assert explain_stuck({"metadata": {"finalizers": ["example.com/keep"]}}) == "finalizers example.com/keep"
    inner = {"metadata": {"finalizers": ["a/b"]}, "spec": {"finalizers": ["kubernetes", "example.com/never"]}}
    assert explain_stuck(inner) == "finalizers a/b, example.com/never"
    assert explain_stuck({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}}) == ""
