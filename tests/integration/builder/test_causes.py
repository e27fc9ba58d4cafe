"""Pods that cannot start, each cause made for real: the reason comes by name."""

import threading
import time

import pytest

from ci_buildx.builder.autoscaler import detect
from ci_buildx.builder.boot import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.verdict import Autoscaler
from ci_buildx.errors import BootError, Stopped
from ci_buildx.kube.client import KubeClient
from tests.integration.builder.conftest import Yard


def failure(yard: Yard, builder: Builder) -> BootError:
    with yard.boot(builder) as boot, pytest.raises(BootError) as caught:
        boot.ready(builder.plan.nodes[0])
    return caught.value


def test_image_that_does_not_exist(yard: Yard, cluster_env: dict[str, str]) -> None:
    error = failure(yard, yard.provision(image=f"{cluster_env['REGISTRY']}/none/such:1"))
    assert error.reason in ("ErrImagePull", "ImagePullBackOff")
    assert "none/such:1" in error.detail
    assert "not found" in error.detail
    assert error.fix == "check driver-opt image: name, tag and platform"


def test_image_that_is_denied(yard: Yard, cluster_env: dict[str, str]) -> None:
    error = failure(yard, yard.provision(image=f"{cluster_env['REGISTRY_BASIC']}/none/such:1"))
    assert error.reason in ("ErrImagePull", "ImagePullBackOff")
    assert "login" in error.fix


def test_no_node_matches_the_selector(yard: Yard) -> None:
    error = failure(yard, yard.provision(nodeselector=(("disk", "holographic"),)))
    assert error.reason == "Unschedulable"
    assert "0/2 nodes are available" in error.detail
    assert "nodeselector" in error.fix


def test_no_node_is_big_enough(yard: Yard) -> None:
    error = failure(yard, yard.provision(requests=(("memory", "9Ti"),)))
    assert error.reason == "Unschedulable"
    assert "requests" in error.fix


def test_quota_is_used_up(kube: KubeClient, yard: Yard) -> None:
    namespace = yard.namespace()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    kube.create(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    error = failure(yard, yard.provision(namespace=namespace))
    assert error.reason == "QuotaExceeded"
    assert "exceeded quota: few" in error.detail


def test_pod_security_refuses_privileged_pods(yard: Yard) -> None:
    namespace = yard.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    error = failure(yard, yard.provision(namespace=namespace))
    assert error.reason == "PodSecurity"
    assert 'violates PodSecurity "restricted' in error.detail
    assert "pod-security.kubernetes.io/enforce=privileged" in error.fix


def test_a_daemon_that_dies_says_its_last_words(yard: Yard) -> None:
    error = failure(yard, yard.provision(buildkitd_config="[worker.oci]\n  enabled = 7\n"))
    assert error.reason == "Error"
    assert error.detail.startswith("buildkitd ended with exit code 1: toml: cannot decode")


def test_a_flag_that_buildkitd_does_not_know(yard: Yard) -> None:
    error = failure(yard, yard.provision(buildkitd_flags=("--no-such-flag",)))
    assert error.detail == "buildkitd does not know a flag (exit code 1)"
    assert error.fix == "check buildkitd-flags"


def test_too_little_memory(yard: Yard) -> None:
    error = failure(yard, yard.provision(limits=(("memory", "8Mi"),)))
    assert error.reason in ("OOMKilled", "StartError", "RunContainerError")


def test_a_wait_ends_at_its_deadline_and_tells_what_it_was_for(yard: Yard) -> None:
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
