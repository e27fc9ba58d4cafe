"""docs/rbac/confined-pods.yaml: who leaks a job's token does not leak the nodes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder import labels
from ci_buildx.errors import Forbidden, Invalid
from ci_buildx.kube.client import KubeClient
from devcluster import accounts, layout
from tests.e2e.product import Product
from tests.integration.builder import webhook

ROOT = {"securityContext": {"privileged": True}}
CAPABLE = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
NEED = "privileged pods of builders need hostUsers: false"
NONE_OF_THE_HOST = "must not use the host's network, processes, ports or folders"
UNCONFINED = "Unconfined need hostUsers: false"


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "busybox", **container}
    return {"metadata": {"name": "pod"}, "spec": {"containers": [main], **spec}}


@contextmanager
def bound(kube: KubeClient, name: str, label: str, value: str) -> Iterator[None]:
    """The policy, bound only to namespaces with this label: other tests' builders are not to feel it."""
    policy, binding = yaml.safe_load_all(accounts.sheet("confined-pods"))
    for each in (policy, binding):
        each["metadata"]["name"] = name
    binding["spec"]["policyName"] = name
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {label: value}}}
    accounts.apply(kube, yaml.safe_dump_all([policy, binding]))
    try:
        yield
    finally:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            kube.delete(f"/apis/admissionregistration.k8s.io/v1/{kind}/{name}")


@contextmanager
def builders_namespace(kube: KubeClient, **more: str) -> Iterator[str]:
    name = f"kube-builder-{secrets.token_hex(4)}"
    levels = {"pod-security.kubernetes.io/enforce": "privileged"}
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: name, **levels, **more}
    kube.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": marks}})
    try:
        yield name
    finally:
        kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def confined(kube: KubeClient) -> Iterator[str]:
    """A builder's namespace to which the policy is bound."""
    with builders_namespace(kube) as name, bound(kube, name, "kubernetes.io/metadata.name", name):
        accounts.wait(lambda: refusal(kube, name, pod(ROOT)) != "")
        yield name


@pytest.fixture
def context(kube: KubeClient, tmp_path: Path) -> Iterator[Path]:
    """A context whose builders the policy is bound to."""
    folder = tmp_path / f"confined-{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN id -u > /who\n")
    mark = sha256(folder.name.encode()).hexdigest()[:8]
    with (
        bound(kube, f"kube-builder-{folder.name}", labels.REPOSITORY_HASH, mark),
        builders_namespace(kube, **{labels.REPOSITORY_HASH: mark}) as probed,
    ):
        accounts.wait(lambda: refusal(kube, probed, pod(ROOT)) != "")
        yield folder


def refusal(kube: KubeClient, namespace: str, body: dict[str, Any]) -> str:
    try:
        kube.create(f"/api/v1/namespaces/{namespace}/pods", body, dryRun="All")
    except (Forbidden, Invalid) as failure:
        return failure.message
    return ""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (pod(ROOT), NEED),
        (pod(CAPABLE), NEED),
        (pod({}, initContainers=[{"name": "first", "image": "busybox", **ROOT}]), NEED),
        (pod(ROOT, hostUsers=True), NEED),
        (pod({}, hostNetwork=True), NONE_OF_THE_HOST),
        (pod({}, hostPID=True), NONE_OF_THE_HOST),
        (pod({}, hostIPC=True), NONE_OF_THE_HOST),
        (pod(ROOT, hostUsers=False, volumes=[{"name": "v", "hostPath": {"path": "/"}}]), NONE_OF_THE_HOST),
        (pod({"ports": [{"containerPort": 80, "hostPort": 80}]}), NONE_OF_THE_HOST),
        (pod({}, volumes=[{"name": "v", "nfs": {"server": "10.0.0.1", "path": "/"}}]), "volumes of types"),
        (pod({}, volumes=[{"name": "v", "gcePersistentDisk": {"pdName": "disk"}}]), "volumes of types"),
        (pod({}, securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "unsafe sysctls"),
        (pod({}, securityContext={"seLinuxOptions": {"type": "spc_t"}}), "SELinux"),
        (pod({"securityContext": {"seLinuxOptions": {"user": "system_u"}}}), "SELinux"),
        (pod({"securityContext": {"procMount": "Unmasked"}}), "hostUsers"),
        (pod({}, securityContext={"seccompProfile": {"type": "Unconfined"}}), UNCONFINED),
        (pod({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), UNCONFINED),
        (pod({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}), UNCONFINED),
    ],
)
def test_what_would_be_root_on_a_node_is_refused(
    body: dict[str, Any], said: str, kube: KubeClient, confined: str
) -> None:
    assert said in refusal(kube, confined, body)


@pytest.mark.parametrize(
    "body",
    [
        pod(ROOT, hostUsers=False),
        pod({}),
        pod({}, volumes=[{"name": "v", "emptyDir": {}}]),
        pod({"securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"}}}),
        pod({"ports": [{"containerPort": 80}]}),
    ],
)
def test_a_pod_in_a_user_namespace_or_without_privileges_is_let_in(
    body: dict[str, Any], kube: KubeClient, confined: str
) -> None:
    assert refusal(kube, confined, body) == ""


def test_a_pod_that_a_webhook_has_changed_is_checked_as_it_comes_out(kube: KubeClient, confined: str) -> None:
    body = pod({}, volumes=[{"name": "v", "emptyDir": {}}])
    assert refusal(kube, confined, body) == ""
    hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    with webhook.injecting(str(layout.cluster().host_address)) as client:
        hook = {
            "name": "injector.example.com",
            "clientConfig": dict(client),
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": confined}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
        }
        kube.create(hooks, {"metadata": {"name": confined}, "webhooks": [hook]})
        try:
            accounts.wait(lambda: refusal(kube, confined, body) != "")
            assert NONE_OF_THE_HOST in refusal(kube, confined, body)
        finally:
            kube.delete(f"{hooks}/{confined}")


def test_namespaces_of_nobodys_builder_do_not_feel_it(kube: KubeClient, namespace: str) -> None:
    assert refusal(kube, namespace, pod(ROOT)) == ""


def test_builds_go_on_in_user_namespaces_and_are_refused_outside(product: Product, context: Path) -> None:
    built = product.build("--platform", "linux/amd64", "-o", "out", str(context))
    assert built.code == 0, built.stderr
    assert (product.cwd / "out/who").read_text() == "0\n"
    refused = product.build("--driver-opt", "user-namespaces=false", "--platform", "linux/amd64", str(context))
    assert refused.code == 1
    assert NEED in refused.stderr.splitlines()[-1]
    assert "cannot start: AdmissionPolicy: " in refused.stderr.splitlines()[-1]
