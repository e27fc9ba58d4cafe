"""What the policies of docs/rbac/jobs.yaml refuse in each kind of workload, and what the opt-outs allow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder import fence, pod_policy
from ci_buildx.builder.rights import GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST
from ci_buildx.errors import Forbidden, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import Cluster
from tests import accounts
from tests.accounts import Account
from tests.e2e.product import Product

MAIN = {"name": "main", "image": "busybox"}
PRIVILEGED = {**MAIN, "securityContext": {"privileged": True}}
ROOTLESS = {**MAIN, "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"}}}
KINDS = {
    "pods": "/api/v1",
    "jobs": "/apis/batch/v1",
    "cronjobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "replicationcontrollers": "/api/v1",
    "podtemplates": "/api/v1",
}


def spec(container: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"containers": [container or MAIN], **more}


def workload(kind: str, pod: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """An object of ``kind`` around a pod's spec; ``metadata`` is its template's."""
    name = {"name": "tried"}
    marks = {"app": "tried"}
    often = {"restartPolicy": "Never"} if kind in ("jobs", "cronjobs") else {}
    template = {"metadata": {"labels": marks, **metadata}, "spec": {**pod, **often}}
    if kind == "pods":
        return {"metadata": {**name, **metadata}, "spec": pod}
    if kind == "podtemplates":
        return {"metadata": name, "template": template}
    if kind == "jobs":
        return {"metadata": name, "spec": {"template": template}}
    if kind == "cronjobs":
        return {"metadata": name, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}}
    selector: dict[str, Any] = marks if kind == "replicationcontrollers" else {"matchLabels": marks}
    service = {"serviceName": "tried"} if kind == "statefulsets" else {}
    return {"metadata": name, "spec": {"selector": selector, "template": template, **service}}


@pytest.fixture(scope="module")
def space(kube: KubeClient) -> Iterator[str]:
    name = f"tests-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def held(
    kube: KubeClient, cluster: Cluster, space: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Account, KubeClient]]:
    """An account that may make everything in a namespace but what the policies refuse."""
    with accounts.outsider(kube, cluster, space, "held", tmp_path_factory.mktemp("held")) as account:
        condition, name = fence.is_user(account.user), f"{space}-pods"
        made = [
            *pod_policy.of_pods(name, condition, confined=True),
            *pod_policy.of_objects(f"{space}-objects", condition),
        ]
        rules = [
            {"apiGroups": ["", "apps", "batch"], "resources": [*KINDS, "secrets", "configmaps"], "verbs": ["*"]},
        ]
        roles = f"{accounts.RBAC}/namespaces/{space}"
        kube.create(f"{roles}/roles", {"metadata": {"name": "all"}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": "held", "namespace": space}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"}
        binding = {"metadata": {"name": "all"}, "roleRef": reference, "subjects": [subject]}
        kube.create(f"{roles}/rolebindings", binding)
        admission = "/apis/admissionregistration.k8s.io/v1"
        plurals = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
        try:
            for number, each in enumerate(made):
                kube.create(f"{admission}/{plurals[number % 2]}", each)
            with account.client() as client:
                accounts.wait(lambda: account.may("create", "", "pods", space))
                accounts.wait(lambda: refusal(client, space, "jobs", workload("jobs", spec(hostPID=True))) != "")
                finalized = {"metadata": {"name": "f", "finalizers": ["a.example/b"]}}
                accounts.wait(lambda: refusal(client, space, "configmaps", finalized) != "")
                yield account, client
        finally:
            for number, each in reversed(list(enumerate(made))):
                with suppress(NotFound):
                    kube.delete(f"{admission}/{plurals[number % 2]}/{each['metadata']['name']}")


def refusal(kube: KubeClient, space: str, kind: str, body: dict[str, Any]) -> str:
    try:
        kube.create(f"{KINDS.get(kind, '/api/v1')}/namespaces/{space}/{kind}", body, dryRun="All")
    except Forbidden as failure:
        return failure.message
    return ""


NAMES = {
    "hostNetwork": (spec(hostNetwork=True), "hostNetwork"),
    "hostPID": (spec(hostPID=True), "hostPID"),
    "hostIPC": (spec(hostIPC=True), "hostIPC"),
    "hostPath": (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "hostPath"),
    "hostPort": (spec({**MAIN, "ports": [{"containerPort": 80, "hostPort": 80}]}), "hostPort"),
    "privileged": (spec(PRIVILEGED), "need hostUsers: false"),
    "privileged init": (spec(initContainers=[{**PRIVILEGED, "name": "first"}]), "need hostUsers: false"),
    "capabilities": (
        spec({**MAIN, "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
        "need hostUsers: false",
    ),
    "another account": (spec(serviceAccountName="held"), "service account default"),
    "system priority": (spec(priorityClassName="system-node-critical"), "priority class"),
    "sysctls": (spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "sysctls"),
    "SELinux type": (spec(securityContext={"seLinuxOptions": {"type": "spc_t"}}), "SELinux"),
    "seccomp Unconfined": (spec(securityContext={"seccompProfile": {"type": "Unconfined"}}), "Unconfined need"),
    "AppArmor Unconfined": (
        spec({**MAIN, "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
        "Unconfined need",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_job_may_not_have(name: str, held: tuple[Account, KubeClient], space: str) -> None:
    pod, said = NAMES[name]
    assert said in refusal(held[1], space, "jobs", workload("jobs", pod))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_workload_is_held_to_it(kind: str, held: tuple[Account, KubeClient], space: str) -> None:
    assert "hostPath" in refusal(held[1], space, kind, workload(kind, NAMES["hostPath"][0]))
    assert "finalizers" in refusal(held[1], space, kind, workload(kind, spec(), finalizers=["a.example/b"]))
    assert refusal(held[1], space, kind, workload(kind, spec(PRIVILEGED, hostUsers=False))) == ""


def test_an_update_is_held_to_it(held: tuple[Account, KubeClient], space: str) -> None:
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    body = workload("deployments", spec())
    body["spec"]["replicas"] = 0
    held[1].create(path, body)
    with pytest.raises(Forbidden, match="hostPID"):
        held[1].patch(f"{path}/tried", {"spec": {"template": {"spec": {"hostPID": True}}}})


@pytest.mark.parametrize("pod", [spec(), spec(PRIVILEGED, hostUsers=False), spec(ROOTLESS)])
def test_what_builders_need_is_let_in(pod: dict[str, Any], held: tuple[Account, KubeClient], space: str) -> None:
    assert refusal(held[1], space, "jobs", workload("jobs", pod)) == ""


def test_secrets_are_no_tokens_and_objects_have_no_finalizers_or_foreign_owners(
    held: tuple[Account, KubeClient], space: str
) -> None:
    token = {
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    }
    assert "tokens of service accounts" in refusal(held[1], space, "secrets", token)
    assert refusal(held[1], space, "secrets", {"metadata": {"name": "t"}}) == ""
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "blockOwnerDeletion": True}
    assert "owners" in refusal(held[1], space, "configmaps", {"metadata": {"name": "t", "ownerReferences": [owner]}})


def test_an_administrator_lifts_the_rules_by_rbac(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    account, client = held
    account.grant(space, GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST)
    try:
        for name in ("hostNetwork", "hostPath", "privileged", "seccomp Unconfined"):
            assert refusal(client, space, "jobs", workload("jobs", NAMES[name][0])) == "", name
    finally:
        roles = f"{accounts.RBAC}/namespaces/{space}"
        kube.delete(f"{roles}/rolebindings/{account.name}-{account.name}")
        kube.delete(f"{roles}/roles/{account.name}")


def test_a_build_needs_no_opt_out_and_what_needs_one_names_it(
    product: Product, confined_account: Account, tmp_path: Path
) -> None:
    product = replace(product, env={**product.env, "KUBECONFIG": str(confined_account.kubeconfig)})
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN id -u > /who\n")
    built = product.build("--platform", "linux/amd64", "-o", "out", str(tmp_path))
    assert built.code == 0, built.stderr
    refused = product.build("--driver-opt", "user-namespaces=false", "--platform", "linux/amd64", str(tmp_path))
    assert refused.code == 1
    assert "docs/rbac/unconfined.yaml allows them" in refused.stderr
