"""What a token that has leaked cannot do, call by call, and what it can: the table of docs/rbac/README.md."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.rbac import admission_policies
from ci_buildx.builder.rbac.rights import INSIDE, RBAC_GROUP, REAPER
from ci_buildx.errors import Forbidden, NotFound
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.values import ClusterSettings
from devcluster import layout
from tests.accounts import RBAC, SHEETS, Account
from tests.integration.rights.conftest import Place, marked

Call = Callable[[KubeClient, Place], object]

NAMESPACES = "/api/v1/namespaces"
NODE = f"/api/v1/nodes/{layout.default_name()}-amd64"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NAMED = {"metadata": {"name": "intruder"}}
LABELLED = {"metadata": {"labels": {"a": "b"}}}
MAIN = {"name": "main", "image": "busybox"}
POD = {**NAMED, "spec": {"containers": [MAIN]}}
JOB = {**NAMED, "spec": {"template": {"spec": {"containers": [MAIN], "restartPolicy": "Never"}}}}

ROOT = {**MAIN, "securityContext": {"privileged": True}}
IN_A_USER_NAMESPACE = {"containers": [ROOT], "restartPolicy": "Never", "hostUsers": False}
PRIVILEGED = {**NAMED, "spec": {"template": {"spec": IN_A_USER_NAMESPACE}}}


def binding(role: str, user: str, kind: str = "ClusterRole") -> dict[str, Any]:
    return {
        "metadata": {"name": "intruder"},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}],
    }


def to_all(made: dict[str, Any]) -> dict[str, Any]:
    """The same binding for everybody who has a name."""
    return {**made, "subjects": [{"apiGroup": RBAC_GROUP, "kind": "Group", "name": "system:authenticated"}]}


def jobs(space: str) -> str:
    return f"/apis/batch/v1/namespaces/{space}/jobs"


def bind(kube: KubeClient, space: str, body: dict[str, Any]) -> object:
    return kube.create(f"{RBAC}/namespaces/{space}/rolebindings", body, dryRun="All")


def make(kube: KubeClient, body: dict[str, object]) -> object:
    return kube.create(NAMESPACES, body, dryRun="All")


def annotated(body: dict[str, Any], key: str) -> dict[str, Any]:
    """The same namespace with one more annotation."""
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "annotations": {**metadata["annotations"], key: "x"}}}


EXEC = [("command", "sh"), ("stdin", "true"), ("stdout", "true")]
EVERYWHERE: dict[str, Call] = {
    "delete kube-system": lambda kube, _: kube.delete(f"{NAMESPACES}/kube-system"),
    "delete default": lambda kube, _: kube.delete(f"{NAMESPACES}/default"),
    "delete another's builder": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.others}"),
    "delete a namespace that is only called so": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.unmarked}"),
    "delete all namespaces": lambda kube, _: kube.delete(NAMESPACES),
    "relabel kube-system": lambda kube, _: kube.patch(
        f"{NAMESPACES}/kube-system", {"metadata": {"labels": {"a": "b"}}}
    ),
    "read Secrets of kube-system": lambda kube, _: kube.list(f"{NAMESPACES}/kube-system/secrets"),
    "read all Secrets": lambda kube, _: kube.list("/api/v1/secrets"),
    "read another builder's keys": lambda kube, at: kube.get(f"{NAMESPACES}/{at.others}/secrets/buildkit-keys"),
    "read ConfigMaps of kube-system": lambda kube, _: kube.list(f"{NAMESPACES}/kube-system/configmaps"),
    "see all pods": lambda kube, _: kube.list("/api/v1/pods"),
    "create a pod elsewhere": lambda kube, _: kube.create(f"{NAMESPACES}/default/pods", POD, dryRun="All"),
    "create a Job elsewhere": lambda kube, _: kube.create(jobs("default"), JOB, dryRun="All"),
    "create a Job in another's builder": lambda kube, at: kube.create(jobs(at.others), JOB, dryRun="All"),
    "delete pods elsewhere": lambda kube, _: kube.delete(f"{NAMESPACES}/kube-system/pods"),
    "exec elsewhere": lambda kube, at: kube.open_websocket(
        f"{NAMESPACES}/{at.others}/pods/any/exec", EXEC, ["v4.channel.k8s.io"]
    ),
    "port-forward elsewhere": lambda kube, at: kube.open_websocket(
        f"{NAMESPACES}/{at.others}/pods/any/portforward", [("ports", "1234")], ["v4.channel.k8s.io"]
    ),
    "read logs elsewhere": lambda kube, at: kube.get(f"{NAMESPACES}/{at.others}/pods/any/log"),
    "evict a pod elsewhere": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-system/pods/any/eviction", {"metadata": {"name": "any"}}
    ),
    "change a Job in another's builder": lambda kube, at: kube.patch(f"{jobs(at.others)}/buildkit-any", LABELLED),
    "delete Jobs in another's builder": lambda kube, at: kube.delete(jobs(at.others)),
    "see other CronJobs": lambda kube, _: kube.list("/apis/batch/v1/cronjobs"),
    "make a CronJob elsewhere": lambda kube, _: kube.create(
        "/apis/batch/v1/namespaces/kube-system/cronjobs", NAMED, dryRun="All"
    ),
    "change what DNS says": lambda kube, _: kube.patch(f"{NAMESPACES}/kube-system/configmaps/coredns", LABELLED),
    "finalize another's namespace": lambda kube, at: kube.patch(f"{NAMESPACES}/{at.others}/finalize", {"spec": {}}),
    "become cluster-admin": lambda kube, at: kube.create(
        f"{RBAC}/clusterrolebindings", binding("cluster-admin", at.user), dryRun="All"
    ),
    "make a ClusterRole": lambda kube, _: kube.create(
        f"{RBAC}/clusterroles", {"metadata": {"name": "intruder"}, "rules": []}, dryRun="All"
    ),
    "widen the role that lets it in": lambda kube, _: kube.patch(
        f"{RBAC}/clusterroles/kube-builder-jobs", {"rules": []}
    ),
    "widen the job's role": lambda kube, _: kube.patch(f"{RBAC}/clusterroles/{INSIDE}", {"rules": []}),
    "be bound in kube-system": lambda kube, at: bind(kube, "kube-system", binding(INSIDE, at.user)),
    "be bound in another's builder": lambda kube, at: bind(kube, at.others, binding(INSIDE, at.user)),
    "be bound where it is only called so": lambda kube, at: bind(kube, at.unmarked, binding(INSIDE, at.user)),
    "get another account's token": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-system/serviceaccounts/default/token", {"spec": {"audiences": []}}
    ),
    "make a service account": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-builder/serviceaccounts", {"metadata": {"name": "intruder"}}, dryRun="All"
    ),
    "have a certificate signed": lambda kube, _: kube.create(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests", NAMED, dryRun="All"
    ),
    "see what goes by, by a webhook": lambda kube, _: kube.create(
        f"{ADMISSION}/mutatingwebhookconfigurations", NAMED, dryRun="All"
    ),
    "define an API": lambda kube, _: kube.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", NAMED, dryRun="All"
    ),
    "take over an API": lambda kube, _: kube.create("/apis/apiregistration.k8s.io/v1/apiservices", NAMED, dryRun="All"),
    "give its pods priority over all": lambda kube, _: kube.create(
        "/apis/scheduling.k8s.io/v1/priorityclasses", {**NAMED, "value": 1000}, dryRun="All"
    ),
    "reach a kubelet": lambda kube, _: kube.get(f"{NODE}/proxy/pods"),
    "change a node": lambda kube, _: kube.patch(NODE, LABELLED),
    "remove the policy": lambda kube, _: kube.delete(f"{ADMISSION}/validatingadmissionpolicies/kube-builder-jobs"),
    "unbind the policy": lambda kube, _: kube.delete(f"{ADMISSION}/validatingadmissionpolicybindings/{INSIDE}"),
    "mount a host's disk": lambda kube, _: kube.create(
        "/api/v1/persistentvolumes", {"metadata": {"name": "intruder"}}, dryRun="All"
    ),
}
BY_A_JOB: dict[str, Call] = {
    "create a namespace with a foreign name": lambda kube, at: make(kube, marked("team-a", at.user)),
    "create a namespace without labels": lambda kube, at: make(
        kube, {"metadata": {"name": "kube-builder-x", "annotations": {labels.CREATOR: at.user}}}
    ),
    "create a namespace labelled as another": lambda kube, at: make(
        kube, marked("kube-builder-x", at.user, **{labels.BUILDER: "kube-builder-y"})
    ),
    "create a namespace in another's name": lambda kube, _: make(kube, marked("kube-builder-x", "somebody")),
    "create a namespace that other policies select": lambda kube, at: make(
        kube, marked("kube-builder-x", at.user, team="payments")
    ),
    "create a namespace that other controllers act on": lambda kube, at: make(
        kube, annotated(marked("kube-builder-x", at.user), "scheduler.alpha.kubernetes.io/node-selector")
    ),
    "relabel its own namespace": lambda kube, at: kube.patch(
        f"{NAMESPACES}/{at.own}", {"metadata": {"labels": {"a": "b"}}}
    ),
    "be cluster-admin in its own namespace": lambda kube, at: bind(kube, at.own, binding("cluster-admin", at.user)),
    "be admin in its own namespace": lambda kube, at: bind(kube, at.own, binding("admin", at.user)),
    "let somebody else in": lambda kube, at: bind(kube, at.own, binding(INSIDE, "somebody")),
    "let everybody in": lambda kube, at: bind(kube, at.own, to_all(binding(INSIDE, at.user))),
    "change who is let in": lambda kube, at: kube.patch(f"{RBAC}/namespaces/{at.own}/rolebindings/any", LABELLED),
    "get the token of an account in its own namespace": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.own}/serviceaccounts/default/token", {"spec": {"audiences": []}}
    ),
    "put a container into a running pod": lambda kube, at: kube.patch(
        f"{NAMESPACES}/{at.own}/pods/any/ephemeralcontainers", {"spec": {}}
    ),
    "create a pod by hand": lambda kube, at: kube.create(f"{NAMESPACES}/{at.own}/pods", POD, dryRun="All"),
    "make a Role": lambda kube, at: kube.create(
        f"{RBAC}/namespaces/{at.own}/roles", {"metadata": {"name": "intruder"}, "rules": []}, dryRun="All"
    ),
}


@pytest.mark.parametrize("name", [*EVERYWHERE, *BY_A_JOB])
def test_a_job_may_not(name: str, job_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        {**EVERYWHERE, **BY_A_JOB}[name](job_kube, place)


@pytest.mark.parametrize("name", [name for name in EVERYWHERE if name != "delete another's builder"])
def test_a_reaper_may_not(name: str, reaper_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        EVERYWHERE[name](reaper_kube, place)


OF_A_REAPER: dict[str, Call] = {
    "delete a namespace of the cluster's": lambda kube, _: kube.delete(f"{NAMESPACES}/kube-node-lease", dryRun="All"),
    "delete the accounts' namespace": lambda kube, _: kube.delete(f"{NAMESPACES}/kube-builder", dryRun="All"),
    "make a namespace": lambda kube, at: make(kube, marked("kube-builder-x", at.user)),
    "change a builder's namespace": lambda kube, at: kube.patch(f"{NAMESPACES}/{at.others}", LABELLED),
    "read a builder's keys": lambda kube, at: kube.get(f"{NAMESPACES}/{at.own}/secrets/buildkit-keys"),
    "see a builder's pods": lambda kube, at: kube.list(f"{NAMESPACES}/{at.own}/pods"),
    "change a sign of life": lambda kube, at: kube.patch(
        f"/apis/coordination.k8s.io/v1/namespaces/{at.own}/leases/any", LABELLED
    ),
    "let itself into a builder": lambda kube, at: bind(
        kube, at.own, binding(INSIDE, admission_policies.ask_user_name(kube))
    ),
    "make a pod beside itself": lambda kube, _: kube.create(f"{NAMESPACES}/kube-system/pods", POD, dryRun="All"),
}


@pytest.mark.parametrize("name", OF_A_REAPER)
def test_a_reaper_may_not_either(name: str, reaper_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        OF_A_REAPER[name](reaper_kube, place)


def bare(name: str, **notes: str) -> dict[str, Any]:
    """A namespace that an administrator has labelled as a builder's."""
    body = marked(name, "somebody")
    return {"metadata": {**body["metadata"], "annotations": notes}}


def test_a_reaper_deletes_what_bears_an_expiry_and_is_a_builders_and_nothing_else(
    kube: KubeClient, reaper_kube: KubeClient
) -> None:
    stem, expiry = f"kube-builder-{secrets.token_hex(4)}", {labels.EXPIRES: "2020-01-01T00:00:00Z"}
    mislabelled = marked(f"{stem}-c", "somebody", **{labels.BUILDER: "kube-builder-y"})
    made: dict[str, dict[str, Any]] = {
        "no expiry": bare(f"{stem}-a"),
        "another name": bare(f"tests-{stem}", **expiry),
        "another builder's label": {"metadata": {**mislabelled["metadata"], "annotations": expiry}},
        "a builder's": bare(f"{stem}-d", **expiry),
    }
    names = [each["metadata"]["name"] for each in made.values()]
    try:
        for body in made.values():
            kube.create(NAMESPACES, body)
        for name in names[:-1]:
            with pytest.raises(Forbidden, match="the reaper deletes builders' namespaces only"):
                reaper_kube.delete(f"{NAMESPACES}/{name}", dryRun="All")
        assert reaper_kube.delete(f"{NAMESPACES}/{names[-1]}", dryRun="All")
    finally:
        for name in names:
            with suppress(NotFound):
                kube.delete(f"{NAMESPACES}/{name}")


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_builder_in_a_namespace_may_not(name: str, tenant_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        EVERYWHERE[name](tenant_kube, place)


def test_a_builder_in_a_namespace_makes_none_and_sees_no_nodes(tenant_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        make(tenant_kube, marked("kube-builder-x", place.user))
    for path in (NAMESPACES, "/api/v1/nodes"):
        with pytest.raises(Forbidden):
            tenant_kube.list(path)


IDENTITIES = (
    {"Impersonate-User": "admin"},
    {"Impersonate-User": "system:serviceaccount:kube-system:default"},
    {"Impersonate-User": "x", "Impersonate-Group": "system:masters"},
)
IMPERSONATE = "act as somebody else"


def test_a_job_may_not_act_as_somebody_else(job_account: Account, cluster: ClusterAccess) -> None:
    settings = ClusterSettings(kubeconfig=(job_account.kubeconfig,))
    theirs = config.load_cluster(settings, env={})
    for headers in IDENTITIES:
        with KubeClient(replace(theirs, identity_headers=headers)) as kube, pytest.raises(Forbidden):
            kube.list("/api/v1/nodes")


def test_not_even_an_administrator_gives_the_jobs_role_elsewhere(kube: KubeClient, place: Place) -> None:
    for space in ("kube-system", place.unmarked, place.own):
        with pytest.raises(Forbidden, match="is bound only in a builder's namespace, by the user who made that"):
            bind(kube, space, binding(INSIDE, place.user))


def test_an_account_that_got_the_role_by_mistake_gets_in_nowhere(kube: KubeClient, stray_kube: KubeClient) -> None:
    with pytest.raises(Forbidden, match="is bound only in a builder's namespace"):
        bind(stray_kube, "kube-system", binding(INSIDE, admission_policies.ask_user_name(stray_kube)))
    with pytest.raises(Forbidden):
        stray_kube.list(f"{NAMESPACES}/kube-system/secrets")


POSSIBLE: dict[str, Call] = {
    "see the names, labels and annotations of namespaces": lambda kube, _: kube.list(NAMESPACES),
    "see the nodes": lambda kube, _: kube.list("/api/v1/nodes"),
    "see the reaper's CronJob": lambda kube, _: kube.list(
        "/apis/batch/v1/cronjobs", fieldSelector=f"metadata.name={REAPER}"
    ),
    "see storage classes": lambda kube, _: kube.list("/apis/storage.k8s.io/v1/storageclasses"),
    "make more namespaces of its own": lambda kube, at: make(kube, marked("kube-builder-x", at.user)),
    "run privileged pods in user namespaces in its own": lambda kube, at: kube.create(
        jobs(at.own), PRIVILEGED, dryRun="All"
    ),
    "read the keys of this account's other builders": lambda kube, at: kube.get(
        f"{NAMESPACES}/{at.own}/secrets/buildkit-keys"
    ),
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_a_leaked_job_token_can(name: str, job_kube: KubeClient, place: Place) -> None:
    assert POSSIBLE[name](job_kube, place)


def test_the_table_of_the_page_is_the_one_that_is_tried() -> None:
    page = (SHEETS / "README.md").read_text()
    for name in (*EVERYWHERE, *BY_A_JOB, IMPERSONATE, *OF_A_REAPER, *POSSIBLE):
        assert f"- {name}\n" in page, name
