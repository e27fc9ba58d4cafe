"""Binding of the job's role to its own account in the namespace that it has created.

This is for accounts without rights in any other namespace. Such an account may create namespaces and, there, bind one
ClusterRole to itself; the policy in docs/rbac/jobs.yaml restricts it to namespaces that are named as builders' and have
its own name as creator. A job learns that it has such an account from the policy's refusal of a namespace without that
name, so accounts with rights everywhere make no extra call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rbac.rights import INSIDE, RBAC_GROUP
from ci_buildx.errors import Conflict, Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.refusal import is_rbac_refusal

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds until every API server knows a new binding; each learns of it by its own watch."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


def is_asked_to_sign(refusal: Forbidden) -> bool:
    """Return whether a namespace was refused because it does not name its creator."""
    return labels.CREATOR in refusal.message


def add_creator(kube: KubeClient, namespace: Manifest) -> Manifest:
    """Return ``namespace`` with the name of the user of ``kube`` as its creator. Raises KubeError."""
    metadata = namespace["metadata"]
    notes = {**metadata["annotations"], labels.CREATOR: ask_user_name(kube)}
    return {**namespace, "metadata": {**metadata, "annotations": notes}}


def ask_user_name(kube: KubeClient) -> str:
    """Return the user's name as the API server knows it (authentication.k8s.io/v1, Kubernetes 1.28).

    Raises KubeError.
    """
    api = "authentication.k8s.io/v1"
    answer = kube.create(f"/apis/{api}/selfsubjectreviews", {"apiVersion": api, "kind": "SelfSubjectReview"})
    return str(answer["status"]["userInfo"]["username"])


def bind_own_role(kube: KubeClient, namespace: Manifest) -> None:
    """Bind a job's role to the user who signed ``namespace``. Raises KubeError."""
    metadata = namespace["metadata"]
    binding = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": INSIDE, "labels": metadata["labels"]},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": INSIDE},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": labels.read_creator(namespace)}],
    }
    try:
        kube.create(f"/apis/{RBAC_GROUP}/v1/namespaces/{metadata['name']}/rolebindings", binding)
    except Conflict:
        return


def retry_while_forbidden(act: Callable[[], T]) -> T:
    """Repeat ``act`` while it is forbidden, until a new binding must have arrived. Raises KubeError."""
    deadline = time.monotonic() + _PATIENCE
    pause = _FIRST_PAUSE
    while True:
        try:
            return act()
        except Forbidden as failure:
            if not is_rbac_refusal(failure) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
