"""What the policies of docs/rbac/jobs.yaml refuse in each kind of workload, and what the opt-outs allow."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder.lifecycle.provision import provision
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.rbac import admission_policies, object_policies, pod_policies
from ci_buildx.builder.rbac import roles as rbac_roles
from ci_buildx.builder.rbac.rights import GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST, RightsMode
from ci_buildx.builder.rbac.roles import ACCOUNT, EXAMPLE_NAMESPACE
from ci_buildx.errors import Forbidden, Invalid, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from devcluster import accounts
from devcluster.accounts import Account
from tests.e2e.product import Product
from tests.integration.rights.conftest import blueprint

MAIN = {"name": "main", "image": "busybox"}
PRIVILEGED = {**MAIN, "securityContext": {"privileged": True}}
ROOTLESS = {**MAIN, "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"}}}
PARTS = ("pods/ephemeralcontainers",)
OBJECTS = ("secrets", "configmaps", "networkpolicies", "leases", "persistentvolumeclaims")
GROUPS = {"networkpolicies": "/apis/networking.k8s.io/v1", "leases": "/apis/coordination.k8s.io/v1"}
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
    """A namespace for the pods that the policies judge."""
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
            *object_policies.make_object_policies(f"{space}-objects", condition),
        ]
        rules = [
            {
                "apiGroups": ["", "apps", "batch", "networking.k8s.io", "coordination.k8s.io"],
                "resources": [*KINDS, *PARTS, *OBJECTS],
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
        kube.create(f"{(KINDS | GROUPS).get(kind, '/api/v1')}/namespaces/{space}/{kind}", body, dryRun="All")
    except (Forbidden, Invalid) as failure:
        return failure.message
    return ""


OTHER_VOLUMES: dict[str, dict[str, Any]] = {
    "awsElasticBlockStore": {"volumeID": "vol-1"},
    "azureFile": {"secretName": "s", "shareName": "s"},
    "cephfs": {"monitors": ["10.0.0.1"]},
    "fc": {"wwids": ["a"]},
    "flexVolume": {"driver": "example/driver"},
    "gcePersistentDisk": {"pdName": "disk"},
    "gitRepo": {"repository": "https://git.example/x"},
    "iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0},
    "nfs": {"server": "10.0.0.1", "path": "/"},
    "rbd": {"monitors": ["10.0.0.1"], "image": "x"},
}
COMMON_VOLUMES: dict[str, dict[str, Any]] = {
    "configMap": {"name": "c"},
    "csi": {"driver": "secrets-store.example"},
    "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]},
    "emptyDir": {},
    "image": {"reference": "busybox"},
    "persistentVolumeClaim": {"claimName": "c"},
    "projected": {"sources": [{"configMap": {"name": "c"}}]},
    "secret": {"secretName": "s"},
}


def claimed(**metadata: Any) -> dict[str, Any]:
    """A volume whose claim is made with its pod."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": metadata, "spec": claim}}}


EXTENSIONS = (
    "config.linkerd.io/init-image",
    "config.linkerd.io/proxy-image",
    "dev.gvisor.spec.mount.v.source",
    "iam.amazonaws.com/role",
    "inject.istio.io/templates",
    "io.katacontainers.config.hypervisor.path",
    "io.kubernetes.cri-o.Devices",
    "k8s.v1.cni.cncf.io/networks",
    "kubernetes.io/config.source",
    "proxy.istio.io/overrides",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "v1.multus-cni.io/default-network",
)
"""Annotations of pods that are refused; those of OTHER_NOTES are let in."""
OTHER_NOTES = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
    "kubectl.kubernetes.io/default-container": "main",
    "linkerd.io/inject": "disabled",
    "proxy.istio.io/config": "{}",
    "sidecar.istio.io/inject": "false",
    "vault.hashicorp.com/agent-inject": "true",
}
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
    "a grace period without end": (spec(terminationGracePeriodSeconds=315_360_000), "end within 86400 seconds"),
    "a claim's annotations": (
        spec(volumes=[claimed(annotations={"k8up.io/backup": "true"})]),
        "claims of builders' volumes",
    ),
    "a claim's labels": (spec(volumes=[claimed(labels={"velero.io/x": "y"})]), "claims of builders' volumes"),
    **{
        f"{kind} volume": (spec(volumes=[{"name": "v", kind: source}]), "volumes of types that PodSecurity's level")
        for kind, source in OTHER_VOLUMES.items()
    },
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
    "volumes of other types than `configMap`, `csi`, `downwardAPI`, `emptyDir`, `ephemeral`, `image`,"
    " `persistentVolumeClaim`, `projected` and `secret`": tuple(f"{kind} volume" for kind in OTHER_VOLUMES),
    "annotations of pods by which other software gives them more (listed below)": (
        "test_annotations_that_extend_a_pod_are_refused",
    ),
    "a `terminationGracePeriodSeconds` of more than a day": ("a grace period without end",),
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
    "labels and annotations but kube-builder's on Secrets, ConfigMaps, Leases, NetworkPolicies and volume claims": (
        "a claim's annotations",
        "a claim's labels",
        "test_labels_and_annotations_that_other_software_acts_on_are_refused",
        "test_claims_of_a_stateful_set_have_no_marks_of_others",
    ),
    "finalizers that an account adds, also in pod templates and a namespace's `spec`": (
        "test_a_finalizer_of_claims_is_refused_elsewhere",
        "test_each_kind_of_workload_is_held_to_it",
        "test_an_update_adds_no_finalizers_and_may_leave_those_of_others",
    ),
    "owners that are not a Job, Pod, Secret, Deployment or StatefulSet": (
        "test_secrets_are_no_tokens_and_objects_have_no_finalizers_or_foreign_owners",
    ),
    "NetworkPolicies for egress, or for pods without the label `kube-builder.dev/builder`": (
        "test_network_policies_are_about_ingress_of_builders",
    ),
    "changes and deletion of NetworkPolicies that are not labelled as builders'": (
        "test_network_policies_of_others_stay",
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
    with pytest.raises(Forbidden, match="must not have ephemeral containers"):
        held[1].patch(f"{pods}/tried/ephemeralcontainers", late, dryRun="All")


def test_an_update_adds_no_finalizers_and_may_leave_those_of_others(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    path = f"/api/v1/namespaces/{space}/configmaps"
    held[1].create(path, {"metadata": {"name": "kept"}})
    with pytest.raises(Forbidden, match="must not have finalizers"):
        held[1].patch(f"{path}/kept", {"metadata": {"finalizers": ["a.example/b"]}})
    kube.patch(f"{path}/kept", {"metadata": {"finalizers": ["admin.example/keep"]}})
    try:
        changed = held[1].patch(f"{path}/kept", {"data": {"a": "b"}})
        assert changed["metadata"]["finalizers"] == ["admin.example/keep"]
        with pytest.raises(Forbidden, match="must not have finalizers"):
            held[1].patch(f"{path}/kept", {"metadata": {"finalizers": ["admin.example/keep", "a.example/b"]}})
    finally:
        kube.patch(f"{path}/kept", {"metadata": {"finalizers": []}})


def test_an_annotation_unconfines_no_more_than_a_field(held: tuple[Account, KubeClient], space: str) -> None:
    note = {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    said = refusal(held[1], space, "jobs", workload("jobs", spec(), annotations=note))
    assert "Unconfined need" in said
    assert refusal(held[1], space, "jobs", workload("jobs", spec(ROOTLESS), annotations=note)) == ""


@pytest.mark.parametrize("note", EXTENSIONS)
def test_annotations_that_extend_a_pod_are_refused(note: str, held: tuple[Account, KubeClient], space: str) -> None:
    said = refusal(held[1], space, "jobs", workload("jobs", spec(), annotations={note: "x"}))
    assert "annotations by which other software extends them" in said
    beginning = next(each for each in pod_policies.POD_EXTENSIONS if note.startswith(each))
    assert f"`{beginning}`" in (accounts.SHEETS / "README.md").read_text()


def test_each_beginning_of_such_an_annotation_is_tried() -> None:
    found = {each for each in pod_policies.POD_EXTENSIONS for note in EXTENSIONS if note.startswith(each)}
    assert found == set(pod_policies.POD_EXTENSIONS)


def test_other_annotations_of_pods_and_common_volumes_are_let_in(held: tuple[Account, KubeClient], space: str) -> None:
    volumes = [{"name": kind.lower(), kind: source} for kind, source in COMMON_VOLUMES.items()]
    pod = spec(volumes=[*volumes, claimed(labels={"kube-builder.dev/node": "a"})], terminationGracePeriodSeconds=86_400)
    assert refusal(held[1], space, "jobs", workload("jobs", pod, annotations=OTHER_NOTES)) == ""


PLAIN: dict[str, dict[str, Any]] = {
    "secrets": {},
    "configmaps": {},
    "leases": {"spec": {"holderIdentity": "x"}},
    "networkpolicies": {
        "spec": {"podSelector": {"matchLabels": {"kube-builder.dev/builder": "x"}}, "policyTypes": ["Ingress"]}
    },
    "persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
}
"""An object of each kind beside workloads, as builders may make it."""
FOREIGN_MARKS = (
    {"annotations": {"replicator.v1.mittwald.de/replicate-to": ".*"}},
    {"annotations": {"reflector.v1.k8s.emberstack.com/reflects": "kube-system/x"}},
    {"labels": {"grafana_dashboard": ""}},
    {"labels": {"argocd.argoproj.io/secret-type": "cluster"}},
)


@pytest.mark.parametrize("kind", PLAIN)
def test_labels_and_annotations_that_other_software_acts_on_are_refused(
    kind: str, held: tuple[Account, KubeClient], space: str
) -> None:
    for marks in FOREIGN_MARKS:
        said = refusal(held[1], space, kind, {"metadata": {"name": "tried", **marks}, **PLAIN[kind]})
        assert "may have only labels and annotations of kube-builder" in said
    marks = {"labels": {"app.kubernetes.io/managed-by": "kube-builder"}, "annotations": {"kube-builder.dev/run": "1"}}
    assert refusal(held[1], space, kind, {"metadata": {"name": "tried", **marks}, **PLAIN[kind]}) == ""


def test_labels_and_annotations_of_others_may_stay_as_they_are(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    path = f"/api/v1/namespaces/{space}/secrets"
    held[1].create(path, {"metadata": {"name": "marked"}})
    kube.patch(f"{path}/marked", {"metadata": {"labels": {"team": "a"}, "annotations": {"backup.example/x": ""}}})
    changed = held[1].patch(f"{path}/marked", {"stringData": {"a": "b"}})
    assert changed["metadata"]["labels"] == {"team": "a"}
    for metadata in ({"labels": {"team": "b"}}, {"annotations": {"backup.example/y": ""}}):
        with pytest.raises(Forbidden, match="may have only labels and annotations of kube-builder"):
            held[1].patch(f"{path}/marked", {"metadata": metadata})


def test_claims_of_a_stateful_set_have_no_marks_of_others(held: tuple[Account, KubeClient], space: str) -> None:
    for metadata, said in (
        ({"annotations": {"k8up.io/backup": "x"}}, "may have only labels and annotations of kube-builder"),
        ({"labels": {"velero.io/x": "y"}}, "may have only labels and annotations of kube-builder"),
        ({"labels": {"kube-builder.dev/node": "a"}}, ""),
    ):
        body = workload("statefulsets", spec())
        claim = {"metadata": {"name": "state", **metadata}, **PLAIN["persistentvolumeclaims"]}
        body["spec"]["volumeClaimTemplates"] = [claim]
        answer = refusal(held[1], space, "statefulsets", body)
        assert said in answer if said else answer == ""


@pytest.mark.parametrize("kind", [*PLAIN, "jobs"])
def test_a_finalizer_of_claims_is_refused_elsewhere(kind: str, held: tuple[Account, KubeClient], space: str) -> None:
    body = workload(kind, spec()) if kind == "jobs" else {"metadata": {"name": "tried"}, **PLAIN[kind]}
    body["metadata"] = {**body["metadata"], "finalizers": ["kubernetes.io/pvc-protection"]}
    said = refusal(held[1], space, kind, body)
    assert said == "" if kind == "persistentvolumeclaims" else "must not have finalizers" in said


@pytest.mark.parametrize(
    "policy",
    [
        {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]},
        {"podSelector": {"matchLabels": {"app": "shop"}}, "ingress": [{}], "policyTypes": ["Ingress"]},
        {**PLAIN["networkpolicies"]["spec"], "egress": [{}], "policyTypes": ["Ingress", "Egress"]},
        {**PLAIN["networkpolicies"]["spec"], "policyTypes": ["Egress"]},
    ],
)
def test_network_policies_are_about_ingress_of_builders(
    policy: dict[str, Any], held: tuple[Account, KubeClient], space: str
) -> None:
    said = refusal(held[1], space, "networkpolicies", {"metadata": {"name": "open"}, "spec": policy})
    assert "must restrict only ingress to builders' pods" in said


def test_network_policies_of_others_stay(kube: KubeClient, held: tuple[Account, KubeClient], space: str) -> None:
    path = f"{GROUPS['networkpolicies']}/namespaces/{space}/networkpolicies"
    kube.create(path, {"metadata": {"name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}})
    own = {"name": "fence", "labels": {"app.kubernetes.io/managed-by": "kube-builder"}}
    held[1].create(path, {"metadata": own, **PLAIN["networkpolicies"]})
    relabelled = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "kube-builder"}}}
    attempts: list[Callable[[], object]] = [
        lambda: held[1].patch(f"{path}/closed", relabelled),
        lambda: held[1].patch(f"{path}/closed", {"spec": PLAIN["networkpolicies"]["spec"]}),
        lambda: held[1].delete(f"{path}/closed"),
        lambda: held[1].delete(path),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden, match="only NetworkPolicies of builders may be changed"):
            attempt()
    held[1].delete(path, labelSelector="app.kubernetes.io/managed-by=kube-builder")
    assert [each["metadata"]["name"] for each in kube.list(path)["items"]] == ["closed"]


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
    assert "or bootstrap tokens" in refusal(held[1], space, "secrets", bootstrap)
    assert refusal(held[1], space, "secrets", {"metadata": {"name": "t"}}) == ""
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "blockOwnerDeletion": True}
    assert "owners" in refusal(held[1], space, "configmaps", {"metadata": {"name": "t", "ownerReferences": [owner]}})


def test_an_administrator_lifts_the_rules_by_rbac(
    kube: KubeClient, held: tuple[Account, KubeClient], space: str
) -> None:
    account, client = held
    account.grant(space, GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST)
    try:
        for name in ("hostNetwork", "hostPath", "privileged", "seccomp Unconfined", "nfs volume"):
            assert refusal(client, space, "jobs", workload("jobs", NAMES[name][0])) == "", name
        assert refusal(client, space, "jobs", workload("jobs", spec(), annotations={EXTENSIONS[0]: "x"})) == ""
        windows = {"windowsOptions": {"hostProcess": True}}
        for pod in (spec(hostNetwork=True, securityContext=windows), spec({**MAIN, "securityContext": windows})):
            said = refusal(client, space, "jobs", workload("jobs", {**pod, "hostNetwork": True}))
            assert "must not be host processes" in said
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
            for prefix in (pod_policies.PODS, object_policies.OBJECTS):
                with suppress(NotFound):
                    kube.delete(f"/apis/admissionregistration.k8s.io/v1/{kind}/{prefix}.{name}")
        kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def entered(confined_account: Account) -> Iterator[tuple[KubeClient, str]]:
    """The account of docs/rbac/jobs.yaml without opt-outs, in a namespace of its own making."""
    with confined_account.client() as client:
        builder = provision(client, blueprint(), announce=lambda _: None)
        try:
            yield client, builder.namespace
        finally:
            teardown(client, builder.location, deadline=time.monotonic() + 20).check()


@pytest.mark.parametrize("name", NAMES)
def test_the_account_of_a_job_may_not_have(name: str, entered: tuple[KubeClient, str]) -> None:
    pod, said = NAMES[name]
    assert said in refusal(*entered, "jobs", workload("jobs", pod))


def test_the_account_of_a_job_makes_what_builders_need_and_nothing_that_others_act_on(
    entered: tuple[KubeClient, str],
) -> None:
    assert refusal(*entered, "jobs", workload("jobs", spec(PRIVILEGED, hostUsers=False))) == ""
    assert "extends them" in refusal(*entered, "jobs", workload("jobs", spec(), annotations={EXTENSIONS[0]: "x"}))
    for kind in ("secrets", "configmaps", "leases", "networkpolicies"):
        said = refusal(*entered, kind, {"metadata": {"name": "t", **FOREIGN_MARKS[0]}, **PLAIN[kind]})
        assert "may have only labels and annotations of kube-builder" in said


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
    note = {EXTENSIONS[0]: "x"}
    assert "extends them" in refusal(client, account.namespace, "jobs", workload("jobs", spec(), annotations=note))
    for kind in ("secrets", "configmaps", "leases", "networkpolicies"):
        body = {"metadata": {"name": "t", **FOREIGN_MARKS[0]}, **PLAIN[kind]}
        assert "may have only labels and annotations of kube-builder" in refusal(client, account.namespace, kind, body)
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
