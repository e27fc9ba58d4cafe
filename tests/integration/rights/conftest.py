"""Accounts of each mode, and builders that belong to them and to somebody else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder import identity, labels
from ci_buildx.builder.identity import JobOrigin
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import certificates
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.builder.rbac.rights import RBAC_GROUP
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.builder import BuilderSettings
from devcluster import accounts
from devcluster.accounts import Account


@dataclass(frozen=True, kw_only=True)
class Place:
    """What an intruder finds on the cluster: ``own`` and ``others`` are builders' namespaces.

    ``unmarked`` is called as a builder's and is none. ``user`` is who the intruder is.
    """

    own: str
    others: str
    unmarked: str
    user: str


@pytest.fixture(scope="session")
def other_kube(
    kube: KubeClient, cluster: ClusterAccess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeClient]:
    """Another team's account with the same rights."""
    name, folder = f"tests-{secrets.token_hex(4)}", tmp_path_factory.mktemp("other")
    with accounts.job(kube, cluster, name, folder) as account, account.client() as client:
        yield client


@pytest.fixture
def stray(kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path: Path) -> Iterator[Account]:
    """An account outside the jobs' groups to which somebody has bound the jobs' role."""
    with accounts.outsider(kube, cluster, namespace, "stray", tmp_path) as account:
        bindings = f"{accounts.RBAC}/clusterrolebindings"
        role = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "kube-builder-jobs"}
        subject = {"kind": "ServiceAccount", "name": account.name, "namespace": namespace}
        kube.create(bindings, {"metadata": {"name": f"{namespace}-stray"}, "roleRef": role, "subjects": [subject]})
        try:
            accounts.wait(lambda: account.may("create", RBAC_GROUP, "rolebindings", "default"))
            yield account
        finally:
            kube.delete(f"{bindings}/{namespace}-stray")


@pytest.fixture
def stray_kube(stray: Account) -> Iterator[KubeClient]:
    """The client of ``stray``."""
    with stray.client() as client:
        yield client


@pytest.fixture(scope="module")
def place(kube: KubeClient, job_account: Account, job_kube: KubeClient, other_kube: KubeClient) -> Iterator[Place]:
    """Two teams' builders and a namespace that is only named like a builder's."""
    own, others = (provision(each, blueprint(), announce=lambda _: None) for each in (job_kube, other_kube))
    unmarked = f"kube-builder-unmarked-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": unmarked}})
    yield Place(own=own.namespace, others=others.namespace, unmarked=unmarked, user=job_account.user)
    for builder in (own, others):
        teardown(kube, builder.location, deadline=time.monotonic() + 20).check()
    kube.delete(f"/api/v1/namespaces/{unmarked}")


def blueprint(**settings: object) -> ProvisionRequest:
    """A builder whose pods no node takes: what is tried here is what may be made."""
    chosen = BuilderSettings(lifetime=600, nodeselector=(("disk", "holographic"),), **settings)  # type: ignore[arg-type]
    return ProvisionRequest(
        identity=identity.make_identity(
            JobOrigin(system="local", repository="tests/rights"), suffix=identity.make_random_suffix()
        ),
        plan=Plan(nodes=(NodePlan(name="any", architecture=None, platforms=(), reason=""),)),
        settings=chosen,
        certificates=certificates.issue(certificates.NAMES, chosen.lifetime),
    )


def marked(name: str, creator: str, **more: str) -> dict[str, Any]:
    """A namespace as a job makes it, with more labels."""
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: name, **more}
    notes = {labels.CREATOR: creator, labels.EXPIRES: identity.make_expiry(time.time(), 600)}
    return {"metadata": {"name": name, "labels": marks, "annotations": notes}}
