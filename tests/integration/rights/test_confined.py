"""docs/rbac/confined-pods.yaml: who leaks a job's token does not leak the nodes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ci_buildx.builder import labels
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from tests import accounts

ROOT = {"securityContext": {"privileged": True}}
CAPABLE = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
NEED = "privileged pods of builders need hostUsers: false"
NONE_OF_THE_HOST = "no network, processes or folders of the host"


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "busybox", **container}
    return {"metadata": {"name": "pod"}, "spec": {"containers": [main], **spec}}


@pytest.fixture(scope="module")
def confined(kube: KubeClient) -> Iterator[str]:
    """A builder's namespace to which alone the policy is bound: other tests' builders are not to feel it."""
    name = f"kube-builder-{secrets.token_hex(4)}"
    levels = {"pod-security.kubernetes.io/enforce": "privileged"}
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: name, **levels}
    kube.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": marks}})
    policy, binding = yaml.safe_load_all(accounts.sheet("confined-pods"))
    for each in (policy, binding):
        each["metadata"]["name"] = name
    binding["spec"]["policyName"] = name
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    accounts.apply(kube, yaml.safe_dump_all([policy, binding]))
    try:
        accounts.wait(lambda: refusal(kube, name, pod(ROOT)) != "")
        yield name
    finally:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            kube.delete(f"/apis/admissionregistration.k8s.io/v1/{kind}/{name}")
        kube.delete(f"/api/v1/namespaces/{name}")


def refusal(kube: KubeClient, namespace: str, body: dict[str, Any]) -> str:
    try:
        kube.create(f"/api/v1/namespaces/{namespace}/pods", body, dryRun="All")
    except Forbidden as failure:
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
    ],
)
def test_what_would_be_root_on_a_node_is_refused(
    body: dict[str, Any], said: str, kube: KubeClient, confined: str
) -> None:
    assert said in refusal(kube, confined, body)


@pytest.mark.parametrize(
    "body", [pod(ROOT, hostUsers=False), pod({}), pod({}, volumes=[{"name": "v", "emptyDir": {}}])]
)
def test_a_pod_in_a_user_namespace_or_without_privileges_is_let_in(
    body: dict[str, Any], kube: KubeClient, confined: str
) -> None:
    assert refusal(kube, confined, body) == ""


def test_namespaces_of_nobodys_builder_do_not_feel_it(kube: KubeClient, namespace: str) -> None:
    assert refusal(kube, namespace, pod(ROOT)) == ""
