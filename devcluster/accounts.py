"""Accounts with the rights of docs/rbac.

The product uses them in tests and in the bench; only observers are administrators.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ci_buildx.builder.rbac.rights import BUILDING, KEEPING, LOOKING, RBAC_GROUP, REAPER, RightsMode, list_questions
from ci_buildx.builder.rbac.roles import ACCOUNT, ACCOUNTS, EXAMPLE_NAMESPACE, LASTING, SYSTEM
from ci_buildx.errors import Conflict, Forbidden
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.values import ClusterSettings

LEASES = "coordination.k8s.io"
RBAC = f"/apis/{RBAC_GROUP}/v1"
SHEETS = Path(__file__).parent.parent / "docs" / "rbac"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_TOKEN_LIFETIME = 3 * 3600
_PATIENCE = 30.0
_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "Role": f"{RBAC}/namespaces/{{}}/roles",
    "RoleBinding": f"{RBAC}/namespaces/{{}}/rolebindings",
    "ClusterRole": f"{RBAC}/clusterroles",
    "ClusterRoleBinding": f"{RBAC}/clusterrolebindings",
    "ValidatingAdmissionPolicy": f"{_ADMISSION}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{_ADMISSION}/validatingadmissionpolicybindings",
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """A service account and a kubeconfig with its token."""

    kube: KubeClient
    cluster: ClusterAccess
    name: str
    namespace: str
    kubeconfig: Path

    @property
    def user(self) -> str:
        """Its name as the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @contextmanager
    def client(self) -> Iterator[KubeClient]:
        """A client with its rights."""
        settings = ClusterSettings(kubeconfig=(self.kubeconfig,))
        with KubeClient(config.load_cluster(settings, env={})) as opened:
            yield opened

    def at(self, namespace: str) -> Path:
        """A kubeconfig whose context is ``namespace``, as users of one namespace have it."""
        content = json.loads(self.kubeconfig.read_text())
        content["contexts"][0]["context"]["namespace"] = namespace
        path = self.kubeconfig.with_name(f"{namespace}.kubeconfig")
        path.write_text(json.dumps(content))
        return path

    def let_into(self, namespace: str) -> None:
        """Give it what docs/rbac/namespace.yaml gives, in a ``namespace`` that is there."""
        # The policies of jobs.yaml hold this account everywhere; those of namespace.yaml hold the account made there.
        text = sheet("namespace").replace(EXAMPLE_NAMESPACE, namespace)
        inside = [each for each in yaml.safe_load_all(text) if "namespace" in each["metadata"]]
        apply(self.kube, yaml.safe_dump_all(inside))
        for role in (ACCOUNT, LASTING):
            create(self.kube, f"{RBAC}/namespaces/{namespace}/rolebindings", self._binding(role))
        wait(lambda: self.has(RightsMode.NAMESPACE, namespace))

    def grant(self, namespace: str, group: str, resource: str, *verbs: str) -> None:
        """Give it a Role of its own with these ``verbs`` in a ``namespace`` that is there."""
        roles = f"{RBAC}/namespaces/{namespace}"
        rules = [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}]
        create(self.kube, f"{roles}/roles", {"metadata": {"name": self.name}, "rules": rules})
        create(self.kube, f"{roles}/rolebindings", self._binding(self.name))
        wait(lambda: self.may(verbs[0], group, resource, namespace))

    def _binding(self, role: str) -> dict[str, Any]:
        return {
            "metadata": {"name": f"{self.name}-{role}"},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}],
        }

    def may(self, verb: str, group: str, resource: str, namespace: str, *, name: str = "") -> bool:
        """What the API server's authorizer says now: it learns of a binding a moment after that was made."""
        return may(self.kube, self.user, verb, group, resource, namespace, name=name)

    def has(self, mode: RightsMode, namespace: str = "") -> bool:
        """Whether the API server's authorizer knows all of the rights of ``mode``: each binding comes by itself."""
        rules = {RightsMode.NAMESPACE: (*BUILDING, *KEEPING), RightsMode.LOOKING: LOOKING}[mode]
        return all(
            self.may(each.verb, each.group, each.resource, namespace, name=each.name)
            for each in list_questions(rules, namespace)
        )

    def is_fenced(self) -> bool:
        """Whether the policies hold it: they, too, are known a moment after they were made."""
        with self.client() as client:
            try:
                client.create("/api/v1/namespaces", {"metadata": {"name": "foreign"}}, dryRun="All")
            except Forbidden as refusal:
                return "ValidatingAdmissionPolicy" in refusal.message
        return False

    def deletes_no_strangers(self) -> bool:
        """Whether the reaper's policy holds it: nothing else keeps it from a namespace that is nobody's builder."""
        with self.client() as client:
            try:
                client.delete("/api/v1/namespaces/kube-node-lease", dryRun="All")
            except Forbidden as refusal:
                return "ValidatingAdmissionPolicy" in refusal.message
        return False


def may(kube: KubeClient, user: str, verb: str, group: str, resource: str, namespace: str, *, name: str = "") -> bool:
    """Whether the authorizer lets a service account, by its ``user`` name, do something."""
    resource, _, part = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    attributes |= {"subresource": part, "name": name}
    groups = [f"system:serviceaccounts:{user.split(':')[2]}"]
    review = {"spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}
    answer = kube.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def wait(reached: Callable[[], bool]) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "the API server does not know of it"
        time.sleep(0.05)


def sheet(mode: str) -> str:
    """A file of docs/rbac, as it is."""
    return (SHEETS / f"{mode}.yaml").read_text()


def apply(kube: KubeClient, text: str) -> None:
    """What `kubectl apply` does with it, as far as that matters here: it is on the cluster then."""
    for manifest in yaml.safe_load_all(text):
        metadata = manifest["metadata"]
        create(kube, _COLLECTIONS[manifest["kind"]].format(metadata.get("namespace", "")), manifest)


def create(kube: KubeClient, collection: str, manifest: dict[str, Any]) -> None:
    """Create an object, or bring the one that is there to this state."""
    try:
        kube.create(collection, manifest)
    except Conflict:
        kube.patch(f"{collection}/{manifest['metadata']['name']}", manifest)


@contextmanager
def job(
    kube: KubeClient, cluster: ClusterAccess, name: str, folder: Path, *, opted_out: bool = False
) -> Iterator[Account]:
    """An account of its own with the rights of docs/rbac/jobs.yaml, which stays on the cluster.

    ``opted_out``: it has those of unconfined.yaml and host-access.yaml, too, for the options that need them, and may
    let pods run as any service account.
    """
    apply(kube, sheet("jobs"))
    with _account(kube, cluster, name, ACCOUNTS, folder) as made, ExitStack() as undo:
        for mode in ("unconfined", "host-access") if opted_out else ():
            role, binding = yaml.safe_load_all(sheet(mode))
            create(kube, f"{RBAC}/clusterroles", role)
            undo.callback(kube.delete, _bind(kube, f"{name}-{mode}", binding["roleRef"], name))
        if opted_out:
            own = f"{name}-accounts"
            rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["use"]}]
            create(kube, f"{RBAC}/clusterroles", {"metadata": {"name": own}, "rules": rules})
            undo.callback(kube.delete, f"{RBAC}/clusterroles/{own}")
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": own}
            undo.callback(kube.delete, _bind(kube, own, role, name))
        wait(made.is_fenced)
        yield made


def _bind(kube: KubeClient, name: str, role: dict[str, Any], account: str) -> str:
    """Give an account a role in the whole cluster; returns the path of the binding."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": ACCOUNTS}
    create(kube, f"{RBAC}/clusterrolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
    return f"{RBAC}/clusterrolebindings/{name}"


def reaper(kube: KubeClient, cluster: ClusterAccess, folder: Path) -> Account:
    """The account of docs/rbac/reaper.yaml, which stays on the cluster."""
    apply(kube, sheet("reaper"))
    account = existing(kube, cluster, REAPER, SYSTEM, folder)
    wait(lambda: account.may("delete", "", "namespaces", "") and account.may("list", LEASES, "leases", ""))
    wait(account.deletes_no_strangers)
    return account


def existing(kube: KubeClient, cluster: ClusterAccess, name: str, namespace: str, folder: Path) -> Account:
    """A service account that is there already."""
    kubeconfig = _kubeconfig(kube, cluster, name, namespace, folder)
    return Account(kube=kube, cluster=cluster, name=name, namespace=namespace, kubeconfig=kubeconfig)


@contextmanager
def outsider(kube: KubeClient, cluster: ClusterAccess, namespace: str, name: str, folder: Path) -> Iterator[Account]:
    """An account in a ``namespace`` of the test's own, which may do nothing yet."""
    with _account(kube, cluster, name, namespace, folder) as made:
        yield made


@contextmanager
def _account(kube: KubeClient, cluster: ClusterAccess, name: str, namespace: str, folder: Path) -> Iterator[Account]:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kube.create(path, {"metadata": {"name": name}})
    try:
        kubeconfig = _kubeconfig(kube, cluster, name, namespace, folder)
        yield Account(kube=kube, cluster=cluster, name=name, namespace=namespace, kubeconfig=kubeconfig)
    finally:
        kube.delete(f"{path}/{name}")


def _kubeconfig(kube: KubeClient, cluster: ClusterAccess, name: str, namespace: str, folder: Path) -> Path:
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps(kubeconfig_of(cluster, token_of(kube, name, namespace))))
    return path


def token_of(kube: KubeClient, name: str, namespace: str) -> str:
    """A token of a service account."""
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": _TOKEN_LIFETIME},
    }
    made = kube.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", asked)
    return str(made["status"]["token"])


def kubeconfig_of(cluster: ClusterAccess, token: str) -> dict[str, Any]:
    """A kubeconfig that knows one cluster and one user."""
    trust = base64.b64encode(cluster.tls.authority or b"").decode()
    server = {"server": cluster.server, "certificate-authority-data": trust}
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": {"token": token}}],
    }
