"""How a job tells that it lives, on a cluster whose clock is not ours."""

import threading
import time
from typing import Any, cast

import pytest

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle.lease import LeaseRenewal
from ci_buildx.errors import Conflict, Forbidden, InputError, KubeBuilderError, NotFound, Unreachable
from ci_buildx.kube.client import KubeClient

OWN = BuilderLocation(name="kube-builder-app-1-x", namespace="kube-builder-app-1-x")
SHARED = BuilderLocation(name="kube-builder-app-1-x", namespace="team", exclusive=False)
ELSEWHEN = 1_777_636_810.0
"""2026-05-01T12:00:10Z: what this cluster's clock shows when it is first asked."""


class Cluster:
    """Takes Leases, failing as told (None: not); its clock goes on from ELSEWHEN whatever ours shows."""

    def __init__(self, *failures: KubeBuilderError | None) -> None:
        self.failures = list(failures)
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.renewed: list[str] = []
        self.asked = threading.Semaphore(0)
        self._begun = time.monotonic()

    @property
    def server_time(self) -> float:
        return float(int(ELSEWHEN + time.monotonic() - self._begun))

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        self.created.append((path, body))
        return body

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        self.renewed.append(body["spec"]["renewTime"])
        return body

    def _fail(self) -> None:
        self.asked.release()
        if self.failures and (failure := self.failures.pop(0)):
            raise failure


def beat(cluster: Cluster, times: int, location: BuilderLocation = OWN, **more: Any) -> None:
    """Let it beat that often."""
    with LeaseRenewal(cast("KubeClient", cluster), location, marks={"a": "b"}, interval=0.01, **more):
        for _ in range(times):
            assert cluster.asked.acquire(timeout=20)


def test_the_lease_bears_the_clusters_time() -> None:
    cluster = Cluster()
    beat(cluster, 4)
    ((path, made),) = cluster.created
    assert path == "/apis/coordination.k8s.io/v1/namespaces/kube-builder-app-1-x/leases"
    assert made["metadata"] == {"name": "buildkit-heartbeat", "labels": {"a": "b"}}
    assert made["spec"]["leaseDurationSeconds"] == 300
    signs = [made["spec"]["renewTime"], *cluster.renewed]
    seconds = [sign[:19] for sign in signs]
    assert seconds == sorted(seconds)
    assert all(sign.startswith("2026-05-01T12:0") and sign.endswith("Z") for sign in signs)


def test_in_anothers_namespace_the_lease_has_an_owner() -> None:
    cluster = Cluster()
    beat(cluster, 1, SHARED, owner=lambda: {"kind": "Job", "uid": "1"})
    while not cluster.created:
        time.sleep(0.01)
    ((_, made),) = cluster.created
    assert made["metadata"]["name"] == "kube-builder-app-1-x-heartbeat"
    assert made["metadata"]["ownerReferences"] == [{"kind": "Job", "uid": "1"}]


def test_a_failure_is_tried_again_and_a_refusal_is_not() -> None:
    cluster = Cluster(Unreachable("gone"))
    beat(cluster, 3)
    assert len(cluster.created) == 1
    refusing = Cluster(Forbidden("no", status=403))
    beat(refusing, 1)
    assert not refusing.asked.acquire(timeout=0.1)
    assert refusing.created == []


def test_a_lease_that_was_made_without_an_answer_is_renewed() -> None:
    cluster = Cluster(Conflict("there already", status=409))
    beat(cluster, 3)
    assert (cluster.created, len(cluster.renewed) >= 1) == ([], True)


@pytest.mark.parametrize("failure", [Forbidden("no", status=403), Unreachable("gone"), InputError("no such plugin")])
def test_a_job_that_has_begun_to_tell_goes_on_whatever_happens(failure: KubeBuilderError) -> None:
    cluster = Cluster(None, failure)
    beat(cluster, 4)
    assert (len(cluster.created), len(cluster.renewed) >= 1) == (1, True)


def test_a_lease_that_somebody_removed_is_made_again() -> None:
    cluster = Cluster(None, NotFound("gone", status=404))
    beat(cluster, 4)
    assert len(cluster.created) == 2


@pytest.mark.parametrize("location", [OWN, SHARED])
def test_nothing_beats_after_the_end(location: BuilderLocation) -> None:
    cluster = Cluster()
    beat(cluster, 1, location)
    while cluster.asked.acquire(timeout=0.1):
        pass
    told = len(cluster.renewed)
    time.sleep(0.05)
    assert len(cluster.renewed) == told
