"""Accounts of the client's tests: each may do what its test does, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess, load_cluster
from ci_buildx.settings.values import ClusterSettings
from devcluster import accounts
from devcluster.accounts import Account


@pytest.fixture(scope="session")
def keeper(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeClient]:
    """A client that may do with ConfigMaps in its namespace what the product does with objects."""
    folder = tmp_path_factory.mktemp("keeper")
    with accounts.outsider(kube, cluster, namespace, "keeper", folder) as account:
        account.grant(namespace, "", "configmaps", "create", "get", "list", "watch", "patch", "delete")
        with account.client() as client:
            yield client


@pytest.fixture(scope="session")
def bob(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An account that may list pods in its namespace."""
    with accounts.outsider(kube, cluster, namespace, "bob", tmp_path_factory.mktemp("bob")) as account:
        account.grant(namespace, "", "pods", "list")
        yield account


@pytest.fixture(scope="session")
def bobs_cluster(bob: Account) -> ClusterAccess:
    """The devcluster with that account's credentials."""
    return load_cluster(ClusterSettings(kubeconfig=(bob.kubeconfig,)), env={})


@pytest.fixture
def bobs_kube(bob: Account) -> Iterator[KubeClient]:
    """The client of ``bob``."""
    with bob.client() as client:
        yield client


@pytest.fixture(scope="session")
def bobs_token(kube: KubeClient, bob: Account) -> str:
    """A token of the account ``bob``."""
    return accounts.token_of(kube, bob.name, bob.namespace)
