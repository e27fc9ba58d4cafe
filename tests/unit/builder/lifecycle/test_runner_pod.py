"""Whether this process runs in a pod of the builder's namespace: only then can that own the builder."""

from typing import Any, cast

import pytest

from ci_buildx.builder.lifecycle.ownership import RunnerHost, find_own_pod, read_host
from ci_buildx.errors import Forbidden, KubeError, NotFound
from ci_buildx.kube.client import KubeClient

POD = {
    "metadata": {"name": "runner-7", "uid": "u-1"},
    "status": {"podIPs": [{"ip": "10.1.2.3"}, {"ip": "2001:db8::3"}]},
}
INSIDE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


class Cluster:
    """Knows one pod, in the namespace ``ci``."""

    def __init__(self, failure: KubeError | None = None) -> None:
        self.failure = failure
        self.asked: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if self.failure is not None or path != "/api/v1/namespaces/ci/pods/runner-7":
            raise self.failure or NotFound("no", status=404)
        return POD


def look(name: str = "runner-7", *addresses: str) -> RunnerHost:
    return RunnerHost(name=name, addresses=frozenset(addresses))


def test_a_pod_is_ours_by_its_name_and_address() -> None:
    found = find_own_pod(
        cast("KubeClient", Cluster()), "ci", INSIDE, look=lambda _: look("runner-7", "127.0.0.1", "2001:db8::3")
    )
    assert found == {"apiVersion": "v1", "kind": "Pod", "name": "runner-7", "uid": "u-1"}


@pytest.mark.parametrize(
    ("namespace", "host"),
    [
        ("builds", look("runner-7", "10.1.2.3")),
        ("ci", look("runner-8", "10.1.2.3")),
        ("ci", look("runner-7", "10.1.2.4")),
        ("ci", look("runner-7")),
    ],
)
def test_another_pod_owns_nothing(namespace: str, host: RunnerHost) -> None:
    assert find_own_pod(cast("KubeClient", Cluster()), namespace, INSIDE, look=lambda _: host) is None


def test_a_pod_that_has_just_begun_gets_its_address() -> None:
    class Starting(Cluster):
        def get(self, path: str) -> dict[str, Any]:
            pod = super().get(path)
            return pod if len(self.asked) > 2 else {**pod, "status": {"phase": "Pending"}}

    cluster = Starting()
    found = find_own_pod(cast("KubeClient", cluster), "ci", INSIDE, look=lambda _: look("runner-7", "10.1.2.3"))
    assert found is not None
    assert len(cluster.asked) == 3


def test_outside_a_pod_nothing_is_asked_and_a_refusal_is_no_error() -> None:
    cluster = Cluster()
    assert find_own_pod(cast("KubeClient", cluster), "ci", {}, look=lambda _: look("runner-7", "10.1.2.3")) is None
    assert cluster.asked == []
    refusing = cast("KubeClient", Cluster(Forbidden("no", status=403)))
    assert find_own_pod(refusing, "ci", INSIDE, look=lambda _: look("runner-7", "10.1.2.3")) is None


def test_this_machine_has_a_name() -> None:
    assert read_host("127.0.0.1").name
