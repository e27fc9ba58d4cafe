"""What the policies of docs/rbac/jobs.yaml refuse in each kind of workload, and what the opt-outs allow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder.rbac import admission_policies, pod_policies
from ci_buildx.builder.rbac import roles as rbac_roles
from ci_buildx.builder.rbac.rights import GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST, RightsMode
from ci_buildx.builder.rbac.roles import ACCOUNT, EXAMPLE_NAMESPACE
from ci_buildx.errors import Forbidden, Invalid, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from tests import accounts
from tests.accounts import Account
from tests.e2e.product import Product

MAIN = {"name": "main", "image": "busybox"}
PRIVILEGED = {**MAIN, "securityContext": {"privileged": True}}
ROOTLESS = {**MAIN, "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"}}}
PARTS = ("pods/ephemeralcontainers",)
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
    kube: KubeClient, cluster: ClusterAccess, space: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Account, KubeClient]]:
    """An account that may make everything in a namespace but what the policies refuse."""
    with accounts.outsider(kube, cluster, space, "held", tmp_path_factory.mktemp("held")) as account:
        condition, name = admission_policies.is_user(account.user), f"{space}-pods"
        made = [
            *pod_policies.make_pod_policies(name, condition),
            *pod_policies.make_object_policies(f"{space}-objects", condition),
        ]
        rules = [
            {
                "apiGroups": ["", "apps", "batch"],
                "resources": [*KINDS, *PARTS, "secrets", "configmaps"],
                "verbs": ["*"],
            },
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
    """What the API server says to it, "" if it would let it in. Some rules are the API's own (Invalid), too."""
    try:
        kube.create(f"{KINDS.get(kind, '/api/v1')}/namespaces/{space}/{kind}", body, dryRun="All")
    except (Forbidden, Invalid) as failure:
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
    "SELinux user": (spec(securityContext={"seLinuxOptions": {"user": "system_u"}}), "SELinux"),
    "SELinux role": (spec(securityContext={"seLinuxOptions": {"role": "system_r"}}), "SELinux"),
    "SELinux type of a container": (
        spec({**MAIN, "securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
        "SELinux",
    ),
    "SELinux user of a container": (
        spec({**MAIN, "securityContext": {"seLinuxOptions": {"user": "system_u"}}}),
        "SELinux",
    ),
    "SELinux role of a container": (
        spec({**MAIN, "securityContext": {"seLinuxOptions": {"role": "system_r"}}}),
        "SELinux",
    ),
    "procMount": (spec({**MAIN, "securityContext": {"procMount": "Unmasked"}}), "hostUsers"),
    "another account by its old name": (spec(serviceAccount="held"), "service account default"),
    "seccomp Unconfined": (spec(securityContext={"seccompProfile": {"type": "Unconfined"}}), "Unconfined need"),
    "AppArmor Unconfined": (
        spec({**MAIN, "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
        "Unconfined need",
    ),
}


ROWS = {
    "`hostNetwork`, `hostPID`, `hostIPC`, `hostPath` volumes, `hostPort`": (
        *("hostNetwork", "hostPID", "hostIPC", "hostPath", "hostPort"),
    ),
    "privileged containers and added capabilities": ("privileged", "privileged init", "capabilities"),
    "seccomp or AppArmor `Unconfined`, also by annotation": (
        "seccomp Unconfined",
        "AppArmor Unconfined",
        "test_an_annotation_unconfines_no_more_than_a_field",
    ),
    "`procMount: Unmasked`": ("procMount",),
    "service accounts other than `default`": (
        "another account",
        "another account by its old name",
        "test_a_role_with_the_verb_use_allows_the_account_that_it_names",
    ),
    "unsafe sysctls": ("sysctls",),
    "SELinux users and roles, and types that are not for containers": (
        "SELinux type",
        "SELinux user",
        "SELinux role",
        "SELinux type of a container",
        "SELinux user of a container",
        "SELinux role of a container",
    ),
    "`system-` priority classes": ("system priority",),
    "host processes of Windows": ("test_an_administrator_lifts_the_rules_by_rbac",),
    "ephemeral containers": ("test_nobody_puts_a_container_into_a_pod",),
    "Secrets of types `kubernetes.io/service-account-token` and `bootstrap.kubernetes.io/token`": (
        "test_secrets_are_no_tokens_and_objects_have_no_finalizers_or_foreign_owners",
    ),
    "finalizers that an account adds, also in pod templates": (
        "test_each_kind_of_workload_is_held_to_it",
        "test_an_update_adds_no_finalizers_and_may_leave_those_of_others",
    ),
    "owners that are not a Job, Pod, Secret, Deployment or StatefulSet": (
        "test_secrets_are_no_tokens_and_objects_have_no_finalizers_or_foreign_owners",
    ),
}
"""The rows of the table in docs/rbac/README.md, and what tries them: names of NAMES, or tests of this file."""


def test_the_table_of_the_page_is_the_one_that_is_tried() -> None:
    section = (accounts.SHEETS / "README.md").read_text().partition("| refused | unless |\n|---|---|\n")[2]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.partition("\n\n")[0].splitlines()]
    assert rows == list(ROWS)
    tried = {name for names in ROWS.values() for name in names}
    assert set(NAMES) <= tried
    assert all(name in NAMES or callable(globals().get(name)) for name in tried)


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


def test_nobody_puts_a_container_into_a_pod(held: tuple[Account, KubeClient], space: str) -> None:
    pods = f"/api/v1/namespaces/{space}/pods"
    body = workload("pods", spec(nodeSelector={"disk": "holographic"}))
    held[1].create(pods, body)
    late = {"spec": {"ephemeralContainers": [{"name": "late", "image": "busybox"}]}}
    with pytest.raises(Forbidden, match="no ephemeral containers"):
        held[1].patch(f"{pods}/tried/ephemeralcontainers", late, dryRun="All")


def test_an_update_adds_no_finalizers_and_may_leave_those_of_others(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    path = f"/api/v1/namespaces/{space}/configmaps"
    held[1].create(path, {"metadata": {"name": "kept"}})
    with pytest.raises(Forbidden, match="no finalizers"):
        held[1].patch(f"{path}/kept", {"metadata": {"finalizers": ["a.example/b"]}})
    kube.patch(f"{path}/kept", {"metadata": {"finalizers": ["admin.example/keep"]}})
    try:
        changed = held[1].patch(f"{path}/kept", {"data": {"a": "b"}})
        assert changed["metadata"]["finalizers"] == ["admin.example/keep"]
        with pytest.raises(Forbidden, match="no finalizers"):
            held[1].patch(f"{path}/kept", {"metadata": {"finalizers": ["admin.example/keep", "a.example/b"]}})
    finally:
        kube.patch(f"{path}/kept", {"metadata": {"finalizers": []}})


def test_an_annotation_unconfines_no_more_than_a_field(held: tuple[Account, KubeClient], space: str) -> None:
    note = {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    said = refusal(held[1], space, "jobs", workload("jobs", spec(), annotations=note))
    assert "Unconfined need" in said
    assert refusal(held[1], space, "jobs", workload("jobs", spec(ROOTLESS), annotations=note)) == ""


def test_a_role_with_the_verb_use_allows_the_account_that_it_names(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    roles = f"{accounts.RBAC}/namespaces/{space}"
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["one"], "verbs": ["use"]}]
    kube.create(f"{roles}/roles", {"metadata": {"name": "one"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    subject = {"kind": "ServiceAccount", "name": "held", "namespace": space}
    kube.create(f"{roles}/rolebindings", {"metadata": {"name": "one"}, "roleRef": reference, "subjects": [subject]})
    accounts.wait(lambda: held[0].may("use", "", "serviceaccounts", space, name="one"))
    assert refusal(held[1], space, "jobs", workload("jobs", spec(serviceAccountName="one"))) == ""
    said = refusal(held[1], space, "jobs", workload("jobs", spec(serviceAccountName="two")))
    assert "service account default" in said


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
    bootstrap = {"metadata": {"name": "t"}, "type": "bootstrap.kubernetes.io/token"}
    assert "not bootstrap tokens" in refusal(held[1], space, "secrets", bootstrap)
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
        windows = {"windowsOptions": {"hostProcess": True}}
        for pod in (spec(hostNetwork=True, securityContext=windows), spec({**MAIN, "securityContext": windows})):
            said = refusal(client, space, "jobs", workload("jobs", {**pod, "hostNetwork": True}))
            assert "are no host processes" in said
    finally:
        roles = f"{accounts.RBAC}/namespaces/{space}"
        kube.delete(f"{roles}/rolebindings/{account.name}-{account.name}")
        kube.delete(f"{roles}/roles/{account.name}")


@pytest.fixture(scope="module")
def housed(
    kube: KubeClient, cluster: ClusterAccess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Account, KubeClient]]:
    """The account of docs/rbac/namespace.yaml, made by that file and nothing else."""
    name = f"tests-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    text = accounts.sheet("namespace").replace(EXAMPLE_NAMESPACE, name)
    try:
        accounts.apply(kube, text)
        account = accounts.existing(kube, cluster, ACCOUNT, name, tmp_path_factory.mktemp("housed"))
        with account.client() as client:
            accounts.wait(lambda: account.has(RightsMode.NAMESPACE, name))
            accounts.wait(lambda: "hostPID" in refusal(client, name, "jobs", workload("jobs", spec(hostPID=True))))
            finalized = {"metadata": {"name": "f", "finalizers": ["a.example/b"]}}
            accounts.wait(lambda: "finalizers" in refusal(client, name, "configmaps", finalized))
            yield account, client
    finally:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            for prefix in (pod_policies.PODS, pod_policies.OBJECTS):
                with suppress(NotFound):
                    kube.delete(f"/apis/admissionregistration.k8s.io/v1/{kind}/{prefix}-{name}")
        kube.delete(f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_the_account_of_one_namespace_may_not_have(name: str, housed: tuple[Account, KubeClient]) -> None:
    pod, said = NAMES[name]
    assert said in refusal(housed[1], housed[0].namespace, "jobs", workload("jobs", pod))


def test_the_account_of_one_namespace_makes_what_builders_need_and_no_tokens(
    housed: tuple[Account, KubeClient],
) -> None:
    account, client = housed
    for kind in ("jobs", "deployments", "statefulsets"):
        for pod in (spec(), spec(PRIVILEGED, hostUsers=False), spec(ROOTLESS)):
            assert refusal(client, account.namespace, kind, workload(kind, pod)) == ""
    for kind in ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"):
        notes = {"kubernetes.io/service-account.name": "default"}
        body = {"metadata": {"name": "t", "annotations": notes}, "type": kind}
        assert "tokens of service accounts" in refusal(client, account.namespace, "secrets", body)


def test_the_opt_outs_are_lifted_in_one_namespace_by_what_doctor_prints(
    kube: KubeClient, housed: tuple[Account, KubeClient]
) -> None:
    account, client = housed
    bindings = f"{accounts.RBAC}/namespaces/{account.namespace}/rolebindings"
    tried = {"unconfined": ("privileged", UNCONFINE), "host-access": ("hostPath", USE_HOST)}
    texts = {"unconfined": rbac_roles.render_unconfined, "host-access": rbac_roles.render_host_access}
    for sheet, (name, verb) in tried.items():
        role, binding = yaml.safe_load_all(texts[sheet](account.namespace))
        accounts.create(kube, f"{accounts.RBAC}/clusterroles", role)
        kube.create(bindings, binding)
        try:
            accounts.wait(lambda verb=verb: account.may(verb, GRANT_GROUP, GRANT_RESOURCE, account.namespace))  # type: ignore[misc]
            assert refusal(client, account.namespace, "jobs", workload("jobs", NAMES[name][0])) == ""
            assert not account.may(verb, GRANT_GROUP, GRANT_RESOURCE, "default")
        finally:
            kube.delete(f"{bindings}/{binding['metadata']['name']}")


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


def test_a_build_in_one_namespace_needs_no_opt_out_and_lasting_builders_do_not_either(
    product: Product, housed: tuple[Account, KubeClient], tmp_path: Path
) -> None:
    account, _ = housed
    product = replace(product, env={**product.env, "KUBECONFIG": str(account.kubeconfig)})
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN id -u > /who\n")
    where = ("--namespace", account.namespace)
    built = product.build(*where, "-o", "out", str(tmp_path))
    assert built.code == 0, built.stderr
    assert "as the cluster's policy requires" in built.stderr
    refused = product.build(*where, "--driver-opt", "user-namespaces=false", str(tmp_path))
    assert refused.code == 1
    assert "docs/rbac/unconfined.yaml allows them" in refused.stderr
    made = product.run("create", *where, "--name", "lasting")
    assert made.code == 0, made.stderr
    assert product.run("rm", *where, "lasting").code == 0
