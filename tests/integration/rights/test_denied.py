"""What a token that has leaked cannot do, call by call, and what it can: the table of docs/rbac/README.md."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder import labels
from ci_buildx.builder.rbac import admission_policies
from ci_buildx.builder.rbac.rights import INSIDE, LISTING, LOOKING, RBAC_GROUP, REAPER, RightsMode, list_questions
from ci_buildx.errors import Forbidden, NotFound
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.values import ClusterSettings
from devcluster import accounts, layout
from devcluster.accounts import RBAC, SHEETS, Account, sheet
from tests.integration.rights.conftest import Place, marked

Call = Callable[[KubeClient, Place], object]

NAMESPACES = "/api/v1/namespaces"
NODE = f"/api/v1/nodes/{layout.default_name()}-amd64"
LEASES = "/apis/coordination.k8s.io/v1"
NETWORK = "/apis/networking.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NAMED = {"metadata": {"name": "intruder"}}
ON_A_NODE = {**NAMED, "target": {"kind": "Node", "name": NODE.rpartition("/")[2]}}
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


def annotated(body: dict[str, Any], key: str, value: str = "x") -> dict[str, Any]:
    """The same namespace with one more annotation."""
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "annotations": {**metadata["annotations"], key: value}}}


def finalized(body: dict[str, Any], finalizer: str) -> dict[str, Any]:
    """The same namespace with a finalizer."""
    return {**body, "metadata": {**body["metadata"], "finalizers": [finalizer]}}


EXEC = [("command", "sh"), ("stdin", "true"), ("stdout", "true")]
EVERYWHERE: dict[str, Call] = {
    "delete kube-system": lambda kube, _: kube.delete(f"{NAMESPACES}/kube-system"),
    "delete default": lambda kube, _: kube.delete(f"{NAMESPACES}/default"),
    "delete another's builder": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.others}"),
    "delete a namespace that only has a builder's name": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.unmarked}"),
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
    "attach to a pod elsewhere": lambda kube, at: kube.open_websocket(
        f"{NAMESPACES}/{at.others}/pods/any/attach", [("stdin", "true")], ["v4.channel.k8s.io"]
    ),
    "put a container into a pod elsewhere": lambda kube, at: kube.patch(
        f"{NAMESPACES}/{at.others}/pods/any/ephemeralcontainers", {"spec": {}}
    ),
    "bind a pod to a node elsewhere": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.others}/pods/any/binding",
        ON_A_NODE,
    ),
    "scale a Deployment elsewhere": lambda kube, _: kube.patch(
        "/apis/apps/v1/namespaces/kube-system/deployments/coredns/scale", {"spec": {"replicas": 0}}
    ),
    "write a status elsewhere": lambda kube, at: kube.patch(f"{jobs(at.others)}/any/status", {"status": {}}),
    "change a Lease in another's builder": lambda kube, at: kube.patch(
        f"{LEASES}/namespaces/{at.others}/leases/any", LABELLED
    ),
    "make a Lease in another's builder": lambda kube, at: kube.create(
        f"{LEASES}/namespaces/{at.others}/leases", NAMED, dryRun="All"
    ),
    "make a Secret in another's builder": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.others}/secrets", NAMED, dryRun="All"
    ),
    "change a Job in another's builder": lambda kube, at: kube.patch(f"{jobs(at.others)}/buildkit-any", LABELLED),
    "delete Jobs in another's builder": lambda kube, at: kube.delete(jobs(at.others)),
    "see other CronJobs": lambda kube, _: kube.list("/apis/batch/v1/cronjobs"),
    "make a CronJob elsewhere": lambda kube, _: kube.create(
        "/apis/batch/v1/namespaces/kube-system/cronjobs", NAMED, dryRun="All"
    ),
    "change DNS records": lambda kube, _: kube.patch(f"{NAMESPACES}/kube-system/configmaps/coredns", LABELLED),
    "send a Service's traffic elsewhere": lambda kube, _: kube.create(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", NAMED, dryRun="All"
    ),
    "make an Ingress elsewhere": lambda kube, _: kube.create(
        f"{NETWORK}/namespaces/default/ingresses", NAMED, dryRun="All"
    ),
    "delete NetworkPolicies elsewhere": lambda kube, _: kube.delete(f"{NETWORK}/namespaces/default/networkpolicies"),
    "delete quotas elsewhere": lambda kube, _: kube.delete(f"{NAMESPACES}/default/resourcequotas"),
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
    "be bound in a namespace that only has a builder's name": lambda kube, at: bind(
        kube, at.unmarked, binding(INSIDE, at.user)
    ),
    "get another account's token": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-system/serviceaccounts/default/token", {"spec": {"audiences": []}}
    ),
    "make a service account": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-builder/serviceaccounts", {"metadata": {"name": "intruder"}}, dryRun="All"
    ),
    "make a Secret with an account's token elsewhere": lambda kube, _: kube.create(
        f"{NAMESPACES}/kube-builder/secrets", {**NAMED, "type": "kubernetes.io/service-account-token"}, dryRun="All"
    ),
    "approve a certificate": lambda kube, _: kube.patch(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests/any/approval", {"status": {}}
    ),
    "have a certificate signed": lambda kube, _: kube.create(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests", NAMED, dryRun="All"
    ),
    "observe others' requests, by a webhook": lambda kube, _: kube.create(
        f"{ADMISSION}/mutatingwebhookconfigurations", NAMED, dryRun="All"
    ),
    "refuse others' requests, by a webhook": lambda kube, _: kube.create(
        f"{ADMISSION}/validatingwebhookconfigurations", NAMED, dryRun="All"
    ),
    "define an API": lambda kube, _: kube.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", NAMED, dryRun="All"
    ),
    "take over an API": lambda kube, _: kube.create("/apis/apiregistration.k8s.io/v1/apiservices", NAMED, dryRun="All"),
    "give its pods priority over all others": lambda kube, _: kube.create(
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
    "create a namespace that cannot be deleted": lambda kube, at: make(
        kube, {**marked("kube-builder-x", at.user), "spec": {"finalizers": ["example/never"]}}
    ),
    "create a namespace with a finalizer": lambda kube, at: make(
        kube, finalized(marked("kube-builder-x", at.user), "example/never")
    ),
    "create a namespace with a finalizer of the cluster's": lambda kube, at: make(
        kube, finalized(marked("kube-builder-x", at.user), "kubernetes.io/pvc-protection")
    ),
    "create a namespace that does not expire": lambda kube, at: make(
        kube, annotated(marked("kube-builder-x", at.user), labels.EXPIRES, "")
    ),
    "create a namespace that expires in years": lambda kube, at: make(
        kube, annotated(marked("kube-builder-x", at.user), labels.EXPIRES, "2999-01-01T00:00:00Z")
    ),
    "create a namespace with an oversized annotation": lambda kube, at: make(
        kube, annotated(marked("kube-builder-x", at.user), f"{labels.DOMAIN}x", "x" * 5000)
    ),
    "create a namespace with too many labels": lambda kube, at: make(
        kube, marked("kube-builder-x", at.user, **{f"{labels.DOMAIN}{number}": "x" for number in range(40)})
    ),
    "finalize its own namespace": lambda kube, at: kube.patch(f"{NAMESPACES}/{at.own}/finalize", {"spec": {}}),
    "write its own namespace's status": lambda kube, at: kube.patch(f"{NAMESPACES}/{at.own}/status", {"status": {}}),
    "delete its own namespace's quota": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.own}/resourcequotas"),
    "delete its own namespace's limits": lambda kube, at: kube.delete(f"{NAMESPACES}/{at.own}/limitranges"),
    "delete its own namespace's NetworkPolicies": lambda kube, at: kube.delete(
        f"{NETWORK}/namespaces/{at.own}/networkpolicies"
    ),
    "make a Service with an address of its choice": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.own}/services", {**NAMED, "spec": {"externalIPs": ["10.0.0.1"]}}, dryRun="All"
    ),
    "bind a pod to a node": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.own}/pods/any/binding",
        ON_A_NODE,
    ),
    "evict a pod": lambda kube, at: kube.create(
        f"{NAMESPACES}/{at.own}/pods/any/eviction", {"metadata": {"name": "any"}}
    ),
    "relabel its own namespace": lambda kube, at: kube.patch(
        f"{NAMESPACES}/{at.own}", {"metadata": {"labels": {"a": "b"}}}
    ),
    "be cluster-admin in its own namespace": lambda kube, at: bind(kube, at.own, binding("cluster-admin", at.user)),
    "be admin in its own namespace": lambda kube, at: bind(kube, at.own, binding("admin", at.user)),
    "let another user in": lambda kube, at: bind(kube, at.own, binding(INSIDE, "somebody")),
    "let everyone in": lambda kube, at: bind(kube, at.own, to_all(binding(INSIDE, at.user))),
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


SAID = {
    "create a namespace with a foreign name": "a job may create and delete only namespaces named kube-builder-",
    "create a namespace without labels": "labelled as a builder's",
    "create a namespace labelled as another": "labelled as a builder's",
    "create a namespace in another's name": "must name the user",
    "create a namespace that other policies select": "may have only labels of",
    "create a namespace that other controllers act on": "may have only annotations of",
    "create a namespace that cannot be deleted": "must not have finalizers",
    "create a namespace with a finalizer": "must not have finalizers",
    "create a namespace with a finalizer of the cluster's": "must not have finalizers",
    "create a namespace that does not expire": "must be a time in the next 31 days",
    "create a namespace that expires in years": "must be a time in the next 31 days",
    "create a namespace with an oversized annotation": "at most 32 labels",
    "create a namespace with too many labels": "at most 32 labels",
}
"""What the refusal of a namespace says: each is refused for its own fault only."""


@pytest.mark.parametrize("name", [*EVERYWHERE, *BY_A_JOB])
def test_a_job_may_not(name: str, job_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden, match=SAID.get(name)):
        {**EVERYWHERE, **BY_A_JOB}[name](job_kube, place)


def test_a_job_creates_a_namespace_with_none_of_these_faults(job_kube: KubeClient, place: Place) -> None:
    assert make(job_kube, marked("kube-builder-x", place.user))


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
    "change a Lease": lambda kube, at: kube.patch(
        f"/apis/coordination.k8s.io/v1/namespaces/{at.own}/leases/any", LABELLED
    ),
    "let itself into a builder": lambda kube, at: bind(
        kube, at.own, binding(INSIDE, admission_policies.ask_user_name(kube))
    ),
    "make a pod in its own namespace": lambda kube, _: kube.create(f"{NAMESPACES}/kube-system/pods", POD, dryRun="All"),
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
            with pytest.raises(Forbidden, match="the reaper may delete only builders' namespaces"):
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
IMPERSONATE = "act as another user"


def is_refused_every_identity(account: Account) -> None:
    theirs = config.load_cluster(ClusterSettings(kubeconfig=(account.kubeconfig,)), env={})
    for headers in IDENTITIES:
        with (
            KubeClient(replace(theirs, identity_headers=headers)) as kube,
            pytest.raises(Forbidden, match="impersonate"),
        ):
            kube.list("/api/v1/nodes")


def test_nobody_may_act_as_somebody_else(job_account: Account, tenant: Account, reaper_account: Account) -> None:
    for account in (job_account, tenant, reaper_account):
        is_refused_every_identity(account)


def test_not_even_an_administrator_gives_the_jobs_role_elsewhere(kube: KubeClient, place: Place) -> None:
    for space in ("kube-system", place.unmarked, place.own):
        with pytest.raises(Forbidden, match="may be bound only in a builder's namespace, by the user who created it"):
            bind(kube, space, binding(INSIDE, place.user))


def test_an_account_that_got_the_role_by_mistake_gets_in_nowhere(kube: KubeClient, stray_kube: KubeClient) -> None:
    with pytest.raises(Forbidden, match="may be bound only in a builder's namespace"):
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


@contextmanager
def viewer(kube: KubeClient, cluster: ClusterAccess, space: str, mode: RightsMode, folder: Path) -> Iterator[Account]:
    """An account with the rights of one sheet that only lets it look, and no others."""
    role, given = yaml.safe_load_all(sheet(mode))
    own = f"{space}-{mode}"
    with accounts.outsider(kube, cluster, space, f"views-{mode}", folder) as account:
        subject = {"kind": "ServiceAccount", "name": account.name, "namespace": space}
        accounts.create(kube, f"{RBAC}/clusterroles", role)
        kube.create(f"{RBAC}/clusterrolebindings", {**given, "metadata": {"name": own}, "subjects": [subject]})
        try:
            rules = {RightsMode.LOOKING: LOOKING, RightsMode.LISTING: LISTING}[mode]
            for each in list_questions(rules):
                accounts.wait(lambda each=each: account.may(each.verb, each.group, each.resource, "", name=each.name))  # type: ignore[misc]
            yield account
        finally:
            kube.delete(f"{RBAC}/clusterrolebindings/{own}")


@pytest.fixture(scope="module")
def looking_kube(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeClient]:
    """What docs/rbac/looking.yaml lets see."""
    folder = tmp_path_factory.mktemp("looking")
    with viewer(kube, cluster, namespace, RightsMode.LOOKING, folder) as account, account.client() as client:
        yield client


@pytest.fixture(scope="module")
def listing_kube(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeClient]:
    """What docs/rbac/listing.yaml lets see."""
    folder = tmp_path_factory.mktemp("listing")
    with viewer(kube, cluster, namespace, RightsMode.LISTING, folder) as account, account.client() as client:
        yield client


@pytest.mark.parametrize("name", EVERYWHERE)
def test_who_only_looks_may_not(name: str, looking_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        EVERYWHERE[name](looking_kube, place)


@pytest.mark.parametrize("name", [name for name in EVERYWHERE if name != "see all pods"])
def test_who_only_lists_may_not(name: str, listing_kube: KubeClient, place: Place) -> None:
    with pytest.raises(Forbidden):
        EVERYWHERE[name](listing_kube, place)


def test_who_only_lists_sees_workloads_and_pods_and_no_secret(listing_kube: KubeClient) -> None:
    for path in ("/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets", "/apis/batch/v1/jobs", "/api/v1/pods"):
        listing_kube.list(path)
    for path in ("/api/v1/secrets", "/api/v1/configmaps", "/api/v1/nodes", NAMESPACES, "/apis/apps/v1/daemonsets"):
        with pytest.raises(Forbidden):
            listing_kube.list(path)


def test_who_only_looks_sees_what_the_sheet_says_and_no_more(looking_kube: KubeClient, kube: KubeClient) -> None:
    for path in ("/api/v1/nodes", "/apis/storage.k8s.io/v1/storageclasses", f"{NETWORK}/servicecidrs"):
        assert looking_kube.list(path)["items"]
    looking_kube.list("/apis/batch/v1/cronjobs", fieldSelector=f"metadata.name={REAPER}")
    with pytest.raises(NotFound):
        looking_kube.get(f"{NAMESPACES}/kube-system/configmaps/cluster-autoscaler-status")
    for path in (NAMESPACES, "/api/v1/services", "/api/v1/configmaps", "/api/v1/events", "/apis/batch/v1/jobs"):
        with pytest.raises(Forbidden):
            looking_kube.list(path)
    with pytest.raises(Forbidden):
        looking_kube.get(NODE)


def test_the_lists_of_the_page_are_the_ones_that_are_tried() -> None:
    section = (SHEETS / "README.md").read_text().partition("## What a leaked token can do")[2].partition("\n## ")[0]
    written = [line.removeprefix("- ") for line in section.splitlines() if line.startswith("- ")]
    assert written == [*POSSIBLE, *EVERYWHERE, IMPERSONATE, *BY_A_JOB, *OF_A_REAPER]
