"""Pods that cannot start, each cause made for real: the reason comes by name."""

import secrets
import threading
import time
from collections.abc import Iterator

import pytest

from ci_buildx.builder import autoscaler, labels
from ci_buildx.builder.autoscaler import detect
from ci_buildx.builder.boot import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.pods import condition
from ci_buildx.builder.verdict import Autoscaler
from ci_buildx.errors import BootError, PodLost, Stopped
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from tests.accounts import Account
from tests.integration.builder import webhook
from tests.integration.builder.causes import CAUSES, Cause, Named, Scene, name_all
from tests.integration.builder.conftest import Yard

NAMED_WITHIN = 5.0
"""Seconds from when the cluster knows a cause to when it is named: what issue 3 promises."""


@pytest.fixture(scope="module")
def module_yard(kube: KubeClient, product_kube: KubeClient, job_account: Account) -> Iterator[Yard]:
    made = Yard(product_kube, kube, job_account)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def named(module_yard: Yard, product_env: dict[str, str]) -> Iterator[dict[str, Named | BaseException]]:
    """Every cause, made beside the others."""
    address = str(layout.cluster().host_address)
    with webhook.refusing(address) as refusing:
        hooks = {"refusing": refusing, "silent": webhook.silent(address)}
        yield name_all(Scene(env=product_env, yard=module_yard, webhooks=hooks), CAUSES)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(cause.name))
def test_a_cause_is_named(cause: Cause, named: dict[str, Named | BaseException]) -> None:
    found = named[cause.name]
    if isinstance(found, BaseException):
        raise found
    error = found.error
    assert isinstance(error, PodLost if cause.lost else BootError)
    assert error.reason in cause.reasons, str(error)
    assert cause.detail in error.detail, str(error)
    assert cause.fix in error.fix, str(error)
    assert "\n" not in str(error)
    assert cause.heals or found.after <= NAMED_WITHIN, f"{found.after:.1f} s after the cluster: {error}"


def test_a_crash_loop_says_the_daemons_last_words(yard: Yard) -> None:
    """As in a Deployment, whose pods are started anew."""
    blueprint = yard.blueprint(buildkitd_config="[worker.oci]\n  enabled = 7\n")
    builder = yard.make(blueprint, alter=lambda job: job["spec"].update(suspend=True))
    (node,) = builder.plan.nodes
    template = yard.admin.get(builder.workload_path(node))["spec"]["template"]
    marks = {key: value for key, value in template["metadata"]["labels"].items() if labels.DOMAIN in key}
    pod = {
        "metadata": {"name": "crashing", "labels": {**marks, labels.MANAGED_BY: labels.MANAGER}},
        "spec": {**template["spec"], "restartPolicy": "Always"},
    }
    yard.admin.create(builder.location.core_path("pods"), pod)
    with yard.boot(builder) as boot, pytest.raises(BootError, match="toml: cannot decode") as caught:
        boot.ready(node)
    assert caught.value.subject == "pod crashing"


def test_an_autoscaler_is_given_the_time_that_a_node_takes(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: it says what cluster-autoscaler says, and brings a node by a label that was missing."""
    monkeypatch.setattr(autoscaler, "detect", lambda _: Autoscaler.PRESENT)
    mark = f"tests.kube-builder.dev/{secrets.token_hex(4)}"
    builder = yard.provision(nodeselector=((mark, "yes"), ("kubernetes.io/arch", "amd64")))
    (node,) = builder.plan.nodes
    (host,) = yard.admin.list("/api/v1/nodes", labelSelector="kubernetes.io/arch=amd64")["items"]
    path = f"/api/v1/nodes/{host['metadata']['name']}"
    told: list[str] = []
    seconds = 6.0
    boot = Boot(yard.kube, builder, deadline=time.monotonic() + seconds, explain=told.append)
    brought = threading.Timer(2 * seconds, yard.admin.patch, (path, {"metadata": {"labels": {mark: "yes"}}}))
    brought.daemon = True
    try:
        with boot:
            scaler = threading.Thread(target=say_that_a_node_comes, args=(yard, builder), daemon=True)
            scaler.start()
            brought.start()
            (pod,) = boot.ready(node)
        assert pod.host == host["metadata"]["name"]
        assert any("a node is being made: TriggeredScaleUp: pool 1->2 (max: 5)" in line for line in told), told
    finally:
        brought.cancel()
        yard.admin.patch(path, {"metadata": {"labels": {mark: None}}})


def say_that_a_node_comes(yard: Yard, builder: Builder) -> None:
    """The event that cluster-autoscaler makes about each pod for which it enlarges a group of nodes."""
    pods = builder.location.core_path("pods")
    while not (found := [pod for pod in yard.admin.list(pods)["items"] if condition(pod, "PodScheduled")]):
        time.sleep(0.1)
    about = {key: found[0]["metadata"][key] for key in ("name", "namespace", "uid")}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(yard.admin.server_time))
    event = {
        "metadata": {"generateName": "scale-up-"},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", **about},
        "reason": "TriggeredScaleUp",
        "message": "pool 1->2 (max: 5)",
        "type": "Normal",
        "source": {"component": "cluster-autoscaler"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    yard.admin.create(builder.location.core_path("events"), event)


def test_a_wait_ends_at_its_deadline_and_tells_what_it_was_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscaler, "detect", lambda _: Autoscaler.PRESENT)
    builder = yard.provision(nodeselector=(("disk", "holographic"),))
    told: list[str] = []
    boot = Boot(yard.kube, builder, deadline=time.monotonic() + 1.5, explain=told.append)
    with boot, pytest.raises(BootError, match="0/2 nodes are available") as caught:
        boot.scheduled(builder.plan.nodes[0])
    assert caught.value.reason == "Timeout"
    assert len(told) == 1
    assert "Unschedulable" in told[0]


def test_a_wait_ends_when_the_job_does(yard: Yard) -> None:
    builder = yard.provision(nodeselector=(("disk", "holographic"),))
    stop = threading.Event()
    stop.set()
    boot = Boot(yard.kube, builder, deadline=time.monotonic() + 30, stop=stop)
    with boot, pytest.raises(Stopped):
        boot.scheduled(builder.plan.nodes[0])


def test_the_devcluster_makes_no_nodes(kube: KubeClient) -> None:
    assert detect(kube) is Autoscaler.ABSENT
