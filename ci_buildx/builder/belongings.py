"""What a lasting builder's nodes need besides their workloads.

A node has a ConfigMap of its own. Proxies, logins for images and the fence are the whole builder's: what one node has
asked for stays when another does not, and of two that ask for different things the last one counts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from ci_buildx.builder import daemon, deployment, manifests, registries
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.plan import NodePlan
from ci_buildx.errors import Conflict
from ci_buildx.kube.amend import amend
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.secret import Secret


def create_files(kube: KubeClient, draft: Draft, node: NodePlan, owner: Mapping[str, str]) -> bool:
    """Make the node's ConfigMap, if it has files; whether it has. Raises Conflict where its name is taken."""
    if not daemon.files(draft.settings):
        return False
    kube.create(draft.location.core_path("configmaps"), deployment.config_map(draft, node, owner))
    return True


def rewrite_files(kube: KubeClient, draft: Draft, node: NodePlan, owner: Mapping[str, str]) -> None:
    """Let the node's ConfigMap hold what its files are now."""
    try:
        create_files(kube, draft, node, owner)
    except Conflict:
        made = deployment.config_map(draft, node, owner)
        path = f"{draft.location.core_path('configmaps')}/{made['metadata']['name']}"
        kube.patch(path, [{"op": "replace", "path": "/data", "value": made["data"]}], kind="json")


def share(kube: KubeClient, draft: Draft, owner: Mapping[str, str], login: Secret | None) -> None:
    """Bring what all nodes have in common to what this one needs; ``login`` is for the node's images."""
    location = draft.location
    keys = {name: content.reveal() for name, content in registries.keys(draft.settings).items()}
    if secrets := daemon.proxy_files(draft) | keys:
        encoded = {name: base64.b64encode(value).decode() for name, value in secrets.items()}
        kube.patch(f"{location.core_path('secrets')}/{location.object_name('keys')}", {"data": encoded})
    if login is not None:
        _share_login(kube, draft, owner, login)
    if draft.settings.network is not None:
        policies = f"/apis/networking.k8s.io/v1/namespaces/{location.namespace}/networkpolicies"
        _bring(kube, policies, manifests.network_policy(draft, draft.settings.network, [owner]))


def merge_logins(before: bytes, login: Secret) -> Secret:
    """A docker configuration with the logins of both; ``login``'s count where both have one."""
    known, added = _auths(before), _auths(login.reveal())
    return Secret(json.dumps({"auths": {**known, **added}}))


def _share_login(kube: KubeClient, draft: Draft, owner: Mapping[str, str], login: Secret) -> None:
    """Nodes may pull from registries of their own: the logins of the others stay."""
    made = deployment.pull_secret(draft, login, owner)
    collection = draft.location.core_path("secrets")
    try:
        kube.create(collection, made)
    except Conflict:

        def add(found: Manifest) -> Manifest:
            before = base64.b64decode(found.get("data", {}).get(manifests.LOGIN_FILE, ""))
            return {"data": deployment.pull_secret(draft, merge_logins(before, login), owner)["data"]}

        amend(kube, f"{collection}/{made['metadata']['name']}", add)


def _bring(kube: KubeClient, collection: str, manifest: Manifest) -> None:
    """Make an object, or let the one that is there be like it."""
    try:
        kube.create(collection, manifest)
    except Conflict:
        kube.patch(f"{collection}/{manifest['metadata']['name']}", manifest)


def _auths(config: bytes) -> dict[str, Any]:
    try:
        found = json.loads(config or b"{}").get("auths")
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
