"""Users with fewer rights than an administrator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from devcluster.accounts import RBAC, kubeconfig_of, token_of

Rule = dict[str, list[str]]


def rule(group: str, resources: str, verbs: str) -> Rule:
    """One rule of a ClusterRole: resources and verbs are words."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


ON_OBJECTS: tuple[Rule, ...] = (
    rule("", "pods secrets configmaps events", "get list watch create delete deletecollection"),
    rule("", "pods/exec pods/portforward", "get create"),
    rule("batch", "jobs", "get list watch create delete deletecollection patch"),
)
"""What a builder needs inside its namespace."""


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """Makes service accounts of a namespace, each with a kubeconfig in ``folder``."""

    kube: KubeClient
    cluster: ClusterAccess
    namespace: str
    folder: Path

    @contextmanager
    def with_changes(self, name: str, *rules: Rule) -> Iterator[Path]:
        """The kubeconfig of an account that may do what ``rules`` say in every namespace, and nothing else."""
        full = f"{self.namespace}-{name}"
        accounts = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.kube.create(accounts, {"metadata": {"name": name}})
        self.kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": full}, "rules": list(rules)})
        try:
            self.kube.create(f"{RBAC}/clusterrolebindings", _binding(full, name, self.namespace))
            path = self.folder / f"{name}.kubeconfig"
            path.write_text(json.dumps(kubeconfig_of(self.cluster, token_of(self.kube, name, self.namespace))))
            yield path
        finally:
            self.kube.delete(f"{RBAC}/clusterrolebindings/{full}")
            self.kube.delete(f"{RBAC}/clusterroles/{full}")


def _binding(role: str, account: str, namespace: str) -> dict[str, Any]:
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
