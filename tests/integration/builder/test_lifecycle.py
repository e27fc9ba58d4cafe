"""Builders made for real: they come up, they go, and nothing stays."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from ci_buildx.builder import labels, plan
from ci_buildx.builder.boot.observation import PodStage
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.lifecycle import find, records
from ci_buildx.builder.lifecycle.provision import provision
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import objects
from ci_buildx.errors import BootError, InputError, KubeBuilderError, PodLost, Refused
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import platform
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import ClusterSettings
from devcluster import layout
from tests.integration.build.accounts import ON_OBJECTS, Accounts
from tests.integration.builder.conftest import Yard, eventually

AMD64, ARM64 = platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")


def pods_of(kube: KubeClient, location: BuilderLocation) -> list[str]:
    listed = kube.list(location.make_core_path("pods"), labelSelector=location.selector)["items"]
    return [pod["metadata"]["name"] for pod in listed]


def test_each_architecture_has_a_pod_that_gets_ready_and_nothing_stays(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision((AMD64, ARM64))
    assert [node.reason for node in builder.plan.nodes] == [
        "linux/amd64: native on 1 node",
        "linux/arm64: native on 1 node",
    ]
    with yard.boot(builder) as boot:
        for node in builder.plan.nodes:
            assert boot.wait_until_scheduled(node).host == f"{layout.default_name()}-{node.name}"
            (pod,) = boot.wait_until_ready(node)
            assert pod.ip
            assert boot.judge_pod(node).stage is PodStage.READY
    report = teardown(yard.job_kube, builder.location, deadline=time.monotonic() + 20)
    assert report.left == ()
    assert f"namespace {builder.namespace}" in report.removed
    assert pods_of(kube, builder.location) == []
    eventually("the end of the namespace", lambda: builder.namespace not in _namespaces(kube))


def test_the_secret_never_delays_the_pod(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision(buildkitd_config='[log]\n  format = "json"\n')
    with yard.boot(builder) as boot:
        boot.wait_until_ready(builder.plan.nodes[0])
    events = kube.list(builder.location.make_core_path("events"))["items"]
    assert [event["message"] for event in events if event["reason"] == "FailedMount"] == []


def test_provisioning_twice_is_the_same_as_once(kube: KubeClient, yard: Yard) -> None:
    blueprint = yard.blueprint()
    first, second = yard.make(blueprint), yard.make(blueprint)
    assert second == first
    assert len(kube.list(first.location.jobs_path)["items"]) == 1


def found_again(yard: Yard, builder: Builder) -> Builder:
    """Return the builder as another process reads it: without the run's nonce, with a reference to its Secret."""
    path = f"{builder.location.make_core_path('secrets')}/{builder.location.make_object_name('keys')}"
    secret = yard.job_kube.get(path)["metadata"]
    owner = {"apiVersion": "v1", "kind": "Secret", "name": secret["name"], "uid": secret["uid"]}
    return replace(builder, location=replace(builder.location, nonce=""), owner=owner)


def test_a_kept_builder_is_found_by_its_name(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision((AMD64, platform.parse_platform("linux/riscv64")))
    loaded = records.load_builder(yard.job_kube, records.find_builder(yard.job_kube, builder.name))
    assert loaded == found_again(yard, builder)
    assert loaded.plan.nodes[0].emulated == (platform.parse_platform("linux/riscv64"),)


def test_a_kept_builder_is_found_in_the_namespace_that_is_named(kube: KubeClient, yard: Yard) -> None:
    inside, own = yard.provision(namespace=yard.namespace()), yard.provision()
    assert records.load_builder(
        yard.job_kube, records.find_builder(yard.job_kube, inside.name, inside.namespace)
    ) == found_again(yard, inside)
    assert records.load_builder(
        yard.job_kube, records.find_builder(yard.job_kube, own.name, inside.namespace)
    ) == found_again(yard, own)
    looked = f"found neither as a namespace nor in namespace '{own.namespace}'"
    with pytest.raises(InputError, match=f"builder '{inside.name}' not found; check the name: {looked}"):
        find.find_job_builder(yard.job_kube, inside.name, own.namespace)


def test_a_namespace_that_is_not_there_is_said(kube: KubeClient, yard: Yard, tmp_path: Path) -> None:
    cluster = config.load_cluster(ClusterSettings(kubeconfig=(yard.account.kubeconfig,)), env={})
    accounts = Accounts(kube=kube, cluster=cluster, namespace=yard.namespace(), folder=tmp_path)
    with accounts.with_changes("anywhere", *ON_OBJECTS) as kubeconfig:
        user = KubeClient(config.load_cluster(ClusterSettings(kubeconfig=(kubeconfig,)), env={}))
        with user, pytest.raises(Refused, match='namespaces "nowhere" not found; create it or omit --namespace'):
            replace(yard, job_kube=user).provision(namespace="nowhere")
    yard.locations.clear()


def test_a_namespace_without_rights_is_said(yard: Yard) -> None:
    with pytest.raises(Refused, match=r'may not create jobs.*; bind a Role with the verb "create"'):
        yard.provision(namespace="default")
    yard.locations.clear()


def test_an_unknown_builder_is_an_input_error(yard: Yard) -> None:
    with pytest.raises(
        InputError, match="builder 'kube-builder-none' not found; check the name: no namespace has this name"
    ):
        records.load_builder(yard.job_kube, records.find_builder(yard.job_kube, "kube-builder-none"))


def test_in_a_namespace_that_is_not_ours_only_our_objects_go(kube: KubeClient, yard: Yard) -> None:
    namespace = yard.namespace()
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {}}
    kube.create(f"/api/v1/namespaces/{namespace}/configmaps", other)
    neighbour = yard.provision(namespace=namespace)
    builder = yard.provision(namespace=namespace, replicas=2, buildkitd_config="debug = true\n")
    with yard.boot(builder) as boot:
        assert len(boot.wait_until_ready(builder.plan.nodes[0])) == 2
    teardown(yard.job_kube, builder.location, deadline=time.monotonic() + 20).check()
    for path in (builder.location.jobs_path, builder.location.make_core_path("secrets")):
        assert kube.list(path, labelSelector=builder.location.selector)["items"] == []
        assert len(kube.list(path, labelSelector=neighbour.location.selector)["items"]) == 1
    assert pods_of(kube, builder.location) == []
    assert yard.exists(f"/api/v1/namespaces/{namespace}/configmaps/other")
    assert yard.exists(f"/api/v1/namespaces/{namespace}")


def test_the_keys_go_with_the_jobs_by_the_clusters_own_hand(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision((AMD64, ARM64))
    secret = f"{builder.location.make_core_path('secrets')}/{builder.location.make_object_name('keys')}"
    for node in builder.plan.nodes:
        assert yard.exists(secret)
        find.remove_failed_node(yard.job_kube, builder, node)
    eventually("the end of the Secret", lambda: not yard.exists(secret))


def test_a_namespace_without_our_mark_is_refused(kube: KubeClient, yard: Yard) -> None:
    namespace = yard.namespace()
    report = teardown(
        yard.job_kube, BuilderLocation(name=namespace, namespace=namespace), deadline=time.monotonic() + 20
    )
    assert report.left == (f"namespace {namespace}",)
    assert "not marked" in report.notes[0]
    assert yard.exists(f"/api/v1/namespaces/{namespace}")


def test_tearing_down_what_was_never_made_is_fine(kube: KubeClient, yard: Yard) -> None:
    name = yard.identity().name
    report = teardown(yard.job_kube, BuilderLocation(name=name, namespace=name), deadline=time.monotonic() + 20)
    assert (report.removed, report.left) == ((), ())


def test_a_namespace_that_appears_a_moment_later_is_removed(kube: KubeClient, yard: Yard) -> None:
    blueprint = yard.blueprint()
    location = find.locate_job_builder(blueprint.identity, blueprint.settings)

    def make() -> None:
        with suppress(KubeBuilderError):  # the namespace may go before all is in it
            yard.make(blueprint)

    late = threading.Timer(0.5, make)
    late.start()
    report = teardown(yard.job_kube, location, deadline=time.monotonic() + 20, settle=5)
    late.join()
    assert report.removed
    assert not yard.exists(location.namespace_path)


def test_the_cluster_ends_the_compute_at_the_deadline(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision(lifetime=10)
    with yard.boot(builder) as boot:
        node = builder.plan.nodes[0]
        (pod,) = boot.wait_until_ready(node)
        boot.record_answer(pod.name)
        # The pod's end and the Job's condition come by two watches.
        eventually(
            "the reason of the Job", lambda: getattr(boot.judge_pod(node).error, "reason", "") == "DeadlineExceeded"
        )
        assert isinstance(boot.judge_pod(node).error, PodLost)
    eventually("the end of all pods", lambda: pods_of(kube, builder.location) == [])


def test_the_cluster_removes_what_a_job_left_but_its_namespace(
    kube: KubeClient, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Job's deadline, its TTL and its ownership: nothing of ours has to live."""
    monkeypatch.setattr(objects, "_KEPT_AFTER_END", 1)
    builder = yard.provision((AMD64, ARM64), lifetime=3, buildkitd_config="debug = true\n")
    location = builder.location

    def is_empty(path: str) -> bool:
        return not kube.list(path, labelSelector=location.selector)["items"]

    for path in (
        location.jobs_path,
        *(location.make_core_path(plural) for plural in ("pods", "secrets", "configmaps")),
    ):
        eventually(f"the end of {path}", partial(is_empty, path))
    assert yard.exists(location.namespace_path)


def test_a_pod_that_is_deleted_in_use_is_named(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision()
    with yard.boot(builder) as boot:
        node = builder.plan.nodes[0]
        (pod,) = boot.wait_until_ready(node)
        kube.delete(f"{builder.location.make_core_path('pods')}/{pod.name}")
        eventually("the loss", lambda: boot.judge_pod(node).stage is PodStage.FAILED)
        error = boot.judge_pod(node).error
    assert isinstance(error, PodLost)
    assert str(error).startswith(f"pod {pod.name} was lost: Deleted")


@dataclass(frozen=True)
class Slow:
    """A client of an API server that is slow, or not reached for a while, when a Secret is to be made."""

    kube: KubeClient
    seconds: float

    def create(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        if body.get("kind") == "Secret":
            time.sleep(self.seconds)
        return self.kube.create(path, body, **query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kube, name)


def test_keys_that_come_after_the_pod_are_mounted_late(yard: Yard) -> None:
    """The kubelet has failed to mount them several times until then, and tries again at growing intervals."""
    kube = cast("KubeClient", Slow(yard.job_kube, seconds=4))
    builder = provision(kube, yard.blueprint(), announce=yard.locations.append)
    (node,) = builder.plan.nodes

    def failures() -> int:
        return len(
            yard.kube.list(builder.location.make_core_path("events"), fieldSelector="reason=FailedMount")["items"]
        )

    assert failures()
    with yard.boot(builder) as boot:
        (pod,) = boot.wait_until_ready(node)
    assert pod.ready


def test_the_loss_of_one_replica_leaves_the_others(kube: KubeClient, yard: Yard) -> None:
    builder = yard.provision(replicas=2)
    with yard.boot(builder) as boot:
        node = builder.plan.nodes[0]
        lost, kept = boot.wait_until_ready(node)
        kube.delete(f"{builder.location.make_core_path('pods')}/{lost.name}", options={"gracePeriodSeconds": 0})
        eventually("the loss", lambda: boot.judge_pod(node, lost.name).stage is PodStage.FAILED)
        assert boot.judge_pod(node, kept.name).stage is PodStage.READY
        assert kept.name in [pod.name for pod in boot.list_pods(node)]
    job = kube.get(f"{builder.location.jobs_path}/{builder.name_workload(node)}")
    assert "conditions" not in job["status"]


def test_an_architecture_without_room_moves_to_another_node(kube: KubeClient, yard: Yard) -> None:
    """As where nodes may not be listed: the scheduler finds out, and the plan is changed."""
    settings = BuilderSettings(lifetime=600)
    first = plan.make_plan((AMD64, platform.parse_platform("linux/s390x")), ClusterFacts(), settings)
    builder = yard.make(replace(yard.blueprint(), plan=first, settings=settings))
    lost = first.nodes[1]
    with yard.boot(builder) as boot:
        with pytest.raises(BootError) as caught:
            boot.wait_until_scheduled(lost)
        assert caught.value.reason == "Unschedulable"
        boot.wait_until_ready(first.nodes[0])
    find.remove_failed_node(yard.job_kube, builder, lost)
    replanned = plan.replan(first, "s390x")
    assert replanned is not None
    assert [str(each) for each in replanned.nodes[0].emulated] == ["linux/s390x"]
    eventually("the end of the node", lambda: len(kube.list(builder.location.jobs_path)["items"]) == 1)


def test_the_expiry_is_on_the_namespace(kube: KubeClient, yard: Yard) -> None:
    blueprint = yard.blueprint()
    builder = yard.make(replace(blueprint, settings=replace(blueprint.settings, lifetime=60)))
    notes = kube.get(builder.location.namespace_path)["metadata"]["annotations"]
    assert notes[labels.EXPIRES].endswith("Z")
    assert notes[labels.REPOSITORY] == "tests/builder"


def _namespaces(kube: KubeClient) -> list[str]:
    return [item["metadata"]["name"] for item in kube.list("/api/v1/namespaces")["items"]]
