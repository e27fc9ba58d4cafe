"""What integration tests have on the devcluster: clients, a namespace, pods."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.transport.race import PodAddress
from devcluster import accounts, layout, registry
from devcluster.accounts import Account
from devcluster.layout import Cluster
from devcluster.registry import Registry


@pytest.fixture(scope="session")
def dev_cluster(cluster_env: dict[str, str]) -> Cluster:
    """The running devcluster's files and addresses."""
    return layout.cluster(layout.default_name())


@pytest.fixture(scope="session")
def registries(dev_cluster: Cluster) -> dict[str, Registry]:
    """The devcluster's registries by name."""
    return {server.name: server for server in registry.registries(dev_cluster)}


@pytest.fixture
def repository_path() -> str:
    """The path of a new repository in any of the registries, without the host."""
    return f"tests/{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def namespace(kube: KubeClient) -> Iterator[str]:
    """A namespace of this test session's own."""
    name = f"tests-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def tenant(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An account with the rights of docs/rbac/namespace.yaml in the tests' namespace, and no others."""
    folder = tmp_path_factory.mktemp("tenant")
    with accounts.outsider(kube, cluster, namespace, "tenant", folder) as account:
        account.let_into(namespace)
        yield account


@pytest.fixture(scope="session")
def tenant_kube(tenant: Account) -> Iterator[KubeClient]:
    """The client of ``tenant``."""
    with tenant.client() as client:
        yield client


@pytest.fixture(scope="session")
def listener(kube: KubeClient, namespace: str) -> PodAddress:
    """A running pod whose port 1234 sends back what it gets, one connection after another."""
    script = "while :; do nc -l -p 1234 -e cat; done"
    return start(kube, namespace, "listener", script)


def start(kube: KubeClient, namespace: str, name: str, script: str) -> PodAddress:
    """Create a pod that runs a shell script, and wait until it runs."""
    create(kube, namespace, name, script)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    status: dict[str, Any] = {}
    for event in kube.watch(pods, deadline=time.monotonic() + 60, fieldSelector=f"metadata.name={name}"):
        status = event.object.get("status") or {}
        if status.get("phase") == "Running":
            return PodAddress(namespace=namespace, name=name, ip=status["podIP"], container="main")
    raise AssertionError(f"pod {name} did not run in time: {status}")


def create(kube: KubeClient, namespace: str, name: str, script: str) -> None:
    """Create a pod that runs a shell script."""
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
    kube.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})
