"""The job's OIDC token is the bearer of the cluster's API, which trusts the devcluster's issuer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ci_buildx.errors import Forbidden, Unauthorized
from ci_buildx.kube import credential_plugins
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.credential_plugins import OidcToken
from devcluster import issuer, layout

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PATIENCE = 30
"""Seconds in which an API server that has just started finds the issuer's keys: it looks each ten seconds."""

Client = Callable[..., KubeClient]


@pytest.fixture
def repository(kube: KubeClient, namespace: str) -> Iterator[str]:
    """A repository whose main branch may read the namespace's ConfigMaps."""
    name = f"app-{secrets.token_hex(4)}"
    roles = f"{RBAC}/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    kube.create(f"{roles}/roles", {"metadata": {"name": name}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    user = f"{issuer.PREFIX}repo:team/{name}:ref:refs/heads/main"
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    kube.create(f"{roles}/rolebindings", binding)
    yield f"team/{name}"


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The issuer's certificate is of the cluster's own authority."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(layout.cluster().pki / "ca.crt"))


@contextmanager
def client(cluster: ClusterAccess, fetch: credential_plugins.Fetch) -> Iterator[KubeClient]:
    with KubeClient(replace(cluster, credentials=OidcToken(fetch))) as made:
        yield made


def test_a_branch_has_the_rights_that_its_subject_was_given(
    bobs_cluster: ClusterAccess, namespace: str, repository: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    main = issuer.job_variables(layout.cluster(), repository=repository)
    deadline = time.monotonic() + PATIENCE
    while True:
        with client(bobs_cluster, credential_plugins.find_token_source(issuer.AUDIENCE, main)) as made:
            try:
                assert made.list(path)["kind"] == "ConfigMapList"
                break
            except Unauthorized:
                assert time.monotonic() < deadline
                time.sleep(1)
    other = issuer.job_variables(layout.cluster(), repository=repository, ref="refs/pull/7/merge")
    with (
        client(bobs_cluster, credential_plugins.find_token_source(issuer.AUDIENCE, other)) as made,
        pytest.raises(Forbidden, match=f'user "ci:repo:{repository}:ref:refs/pull/7/merge" may not list configmaps'),
    ):
        made.list(path)
    with (
        client(bobs_cluster, credential_plugins.find_token_source("another-cluster", main)) as made,
        pytest.raises(Unauthorized),
    ):
        made.list(path)


def test_a_token_is_fetched_anew_when_it_nears_its_end(
    bobs_cluster: ClusterAccess, namespace: str, repository: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    fetch = credential_plugins.find_token_source(
        issuer.AUDIENCE, issuer.job_variables(layout.cluster(), repository=repository, lifetime="2")
    )
    seen: list[str] = []

    def count() -> object:
        seen.append((token := fetch()).reveal_text())
        return token

    with client(bobs_cluster, count) as made:  # type: ignore[arg-type]
        for _ in range(3):
            made.list(path)
            made.list(path)
            time.sleep(1.6)
    assert len(set(seen)) == 3
