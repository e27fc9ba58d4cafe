"""The product as a process, its builders, and users who may do less than an administrator."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from devcluster import layout
from devcluster.accounts import Account
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration.build.accounts import Accounts
from tests.integration.build.lasting import Shop


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """An empty context whose name no other test has."""
    folder = tmp_path / f"job-{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


@pytest.fixture
def builders(kube: KubeClient, context: Path) -> Iterator[Builders]:
    """The builders made from ``context``; what a test leaves of them is removed."""
    found = Builders(kube, context.name)
    yield found
    for name in found.left():
        kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def shop(kube: KubeClient, product: Product, job_account: Account, namespace: str, tmp_path: Path) -> Iterator[Shop]:
    """The session's namespace; the current builder is remembered in a folder of the test's own."""
    job_account.let_into(namespace)
    mine = product.with_env(XDG_STATE_HOME=str(tmp_path / "state"), KUBE_BUILDER_NAMESPACE=namespace)
    yield Shop(kube=kube, product=mine, namespace=namespace)
    mine.run("rm", "--all-inactive", "--force")


@pytest.fixture
def accounts(kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path: Path) -> Accounts:
    """Makes accounts that may do less than the job's account."""
    return Accounts(kube=kube, cluster=cluster, namespace=namespace, folder=tmp_path)


@pytest.fixture
def amd64_only(kube: KubeClient) -> Iterator[str]:
    """A label, as ``key=value``, that no node but the amd64 one has."""
    key = f"tests.kube-builder.dev/{secrets.token_hex(4)}"
    (node,) = kube.list("/api/v1/nodes", labelSelector="kubernetes.io/arch=amd64")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    kube.patch(path, {"metadata": {"labels": {key: "yes"}}})
    yield f"{key}=yes"
    kube.patch(path, {"metadata": {"labels": {key: None}}})


@pytest.fixture
def one_place(kube: KubeClient) -> Iterator[str]:
    """What the amd64 node has one of, so that two pods cannot be there: kubelets leave alone what they do not know."""
    name = f"tests.kube-builder.dev/place-{secrets.token_hex(4)}"
    path = f"/api/v1/nodes/{layout.default_name()}-amd64/status"
    kube.patch(path, {"status": {"capacity": {name: "1"}, "allocatable": {name: "1"}}})
    yield name
    kube.patch(path, {"status": {"capacity": {name: None}, "allocatable": {name: None}}})
