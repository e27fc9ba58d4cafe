"""Pods that cannot start, each cause made for real: the reason comes by name."""

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.boot import pending
from ci_buildx.builder.boot.observation import Autoscaler
from ci_buildx.builder.boot.pending import detect_autoscaler
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.pods import find_condition
from ci_buildx.errors import BootError, PodLost, Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from devcluster import accounts, layout
from devcluster.accounts import Account
from tests.integration.builder import webhook
from tests.integration.builder.causes import CAUSES, Cause, Named, Scene, name_all
from tests.integration.builder.conftest import Yard, eventually

NAMED_WITHIN = 5.0
"""Seconds from when the cluster knows a cause to when it is named: what issue 3 promises."""


@pytest.fixture(scope="module")
def module_yard(kube: KubeClient, job_kube: KubeClient, job_account: Account) -> Iterator[Yard]:
    """The same as ``yard``, for all tests of this module."""
    made = Yard(kube, job_kube, job_account)
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
    template = yard.kube.get(builder.make_workload_path(node))["spec"]["template"]
    marks = {key: value for key, value in template["metadata"]["labels"].items() if labels.DOMAIN in key}
    pod = {
        "metadata": {"name": "crashing", "labels": {**marks, labels.MANAGED_BY: labels.MANAGER}},
        "spec": {**template["spec"], "restartPolicy": "Always"},
    }
    yard.kube.create(builder.location.make_core_path("pods"), pod)
    with yard.boot(builder) as boot, pytest.raises(BootError, match="toml: cannot decode") as caught:
        boot.wait_until_ready(node)
    assert caught.value.subject == "pod crashing"


def test_an_autoscaler_is_given_the_time_that_a_node_takes(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: it says what cluster-autoscaler says, and brings a node by a label that was missing."""
    monkeypatch.setattr(pending, "detect_autoscaler", lambda _: Autoscaler.PRESENT)
    mark = f"tests.kube-builder.dev/{secrets.token_hex(4)}"
    builder = yard.provision(nodeselector=((mark, "yes"), ("kubernetes.io/arch", "amd64")))
    (node,) = builder.plan.nodes
    (host,) = yard.kube.list("/api/v1/nodes", labelSelector="kubernetes.io/arch=amd64")["items"]
    path = f"/api/v1/nodes/{host['metadata']['name']}"
    told: list[str] = []
    seconds = 6.0
    boot = Boot(yard.job_kube, builder, deadline=time.monotonic() + seconds, explain=told.append)
    brought = threading.Timer(2 * seconds, yard.kube.patch, (path, {"metadata": {"labels": {mark: "yes"}}}))
    brought.daemon = True
    try:
        with boot:
            said = ("TriggeredScaleUp", "pool 1->2 (max: 5)")
            scaler = threading.Thread(target=say_of_its_pod, args=(yard, builder, *said), daemon=True)
            scaler.start()
            brought.start()
            (pod,) = boot.wait_until_ready(node)
        assert pod.host == host["metadata"]["name"]
        assert any("a cluster node is being added: TriggeredScaleUp: pool 1->2 (max: 5)" in line for line in told), told
    finally:
        brought.cancel()
        yard.kube.patch(path, {"metadata": {"labels": {mark: None}}})


def test_an_autoscaler_that_will_not_help_is_believed_at_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "detect_autoscaler", lambda _: Autoscaler.PRESENT)
    builder = yard.provision(nodeselector=(("disk", "holographic"),))
    said = ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 node(s) didn't match Pod's node affinity/selector")
    with yard.boot(builder) as boot:
        threading.Thread(target=say_of_its_pod, args=(yard, builder, *said), daemon=True).start()
        with pytest.raises(BootError, match=r"0/2 nodes are available.*; the autoscaler: pod didn't trigger") as caught:
            boot.wait_until_ready(builder.plan.nodes[0])
    assert (caught.value.reason, "nodeselector" in caught.value.fix) == ("Unschedulable", True)


def say_of_its_pod(yard: Yard, builder: Builder, reason: str, message: str) -> None:
    """The event that cluster-autoscaler makes about each pod for which it enlarges a group of nodes, or does not."""
    pods = builder.location.make_core_path("pods")
    while not (found := [pod for pod in yard.kube.list(pods)["items"] if find_condition(pod, "PodScheduled")]):
        time.sleep(0.1)
    about = {key: found[0]["metadata"][key] for key in ("name", "namespace", "uid")}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(yard.kube.server_time))
    event = {
        "metadata": {"generateName": "scale-up-"},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", **about},
        "reason": reason,
        "message": message,
        "type": "Normal",
        "source": {"component": "cluster-autoscaler"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    yard.kube.create(builder.location.make_core_path("events"), event)


def test_a_wait_ends_at_its_deadline_and_tells_what_it_was_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "detect_autoscaler", lambda _: Autoscaler.PRESENT)
    builder = yard.provision(nodeselector=(("disk", "holographic"),))
    told: list[str] = []
    boot = Boot(yard.job_kube, builder, deadline=time.monotonic() + 1.5, explain=told.append)
    with boot, pytest.raises(BootError, match="0/2 nodes are available") as caught:
        boot.wait_until_scheduled(builder.plan.nodes[0])
    assert caught.value.reason == "Timeout"
    assert len(told) == 1
    assert "Unschedulable" in told[0]


def test_a_wait_ends_when_the_job_does(yard: Yard) -> None:
    builder = yard.provision(nodeselector=(("disk", "holographic"),))
    stop = threading.Event()
    stop.set()
    boot = Boot(yard.job_kube, builder, deadline=time.monotonic() + 30, stop=stop)
    with boot, pytest.raises(Stopped):
        boot.wait_until_scheduled(builder.plan.nodes[0])


def test_whether_the_cluster_makes_nodes_is_seen_with_a_jobs_rights(
    yard: Yard, kube: KubeClient, cluster: ClusterAccess, tmp_path: Path
) -> None:
    """By cluster-autoscaler's status or by Karpenter's API; who may not read the status knows only of the latter."""
    namespace = yard.namespace()
    with accounts.outsider(kube, cluster, namespace, "nobody", tmp_path) as account, account.client() as nobody:
        assert (detect_autoscaler(yard.job_kube), detect_autoscaler(nobody)) == (Autoscaler.ABSENT, Autoscaler.UNKNOWN)
        status = "/api/v1/namespaces/kube-system/configmaps"
        kube.create(status, {"metadata": {"name": "cluster-autoscaler-status"}})
        try:
            assert (detect_autoscaler(yard.job_kube), detect_autoscaler(nobody)) == (
                Autoscaler.PRESENT,
                Autoscaler.UNKNOWN,
            )
        finally:
            kube.delete(f"{status}/cluster-autoscaler-status")
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        kube.create(definitions, NODE_POOLS)
        try:
            eventually("Karpenter's API", lambda: detect_autoscaler(nobody) is Autoscaler.PRESENT)
        finally:
            kube.delete(f"{definitions}/{NODE_POOLS['metadata']['name']}")
            eventually("the end of Karpenter's API", lambda: detect_autoscaler(yard.job_kube) is Autoscaler.ABSENT)


NODE_POOLS: dict[str, Any] = {
    "metadata": {"name": "nodepools.karpenter.sh"},
    "spec": {
        "group": "karpenter.sh",
        "scope": "Cluster",
        "names": {"plural": "nodepools", "singular": "nodepool", "kind": "NodePool"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
