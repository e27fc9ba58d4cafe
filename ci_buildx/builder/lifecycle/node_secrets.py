"""Objects of a lasting builder's nodes other than their workloads.

A node has its own ConfigMap. Proxies, logins for images and the NetworkPolicy are shared by the whole builder: what one
node requested stays if another node does not request it, and of two different requests the last one counts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.manifests import buildkitd, lasting_objects, objects, registries
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.plan import NodePlan
from ci_buildx.errors import Conflict
from ci_buildx.kube.client import KubeClient, amend_object
from ci_buildx.model.documents import parse_json
from ci_buildx.model.secret import Secret


def create_config_map(kube: KubeClient, draft: BuilderSpec, node: NodePlan, owner: Mapping[str, str]) -> bool:
    """Create the node's ConfigMap if it has files; return whether it has. Raises Conflict if its name is taken."""
    if not buildkitd.make_files(draft.settings):
        return False
    kube.create(draft.location.make_core_path("configmaps"), lasting_objects.make_config_map(draft, node, owner))
    return True


def update_config_map(kube: KubeClient, draft: BuilderSpec, node: NodePlan, owner: Mapping[str, str]) -> None:
    """Bring the node's ConfigMap up to date with its files; create it if it is missing."""
    try:
        create_config_map(kube, draft, node, owner)
    except Conflict:
        made = lasting_objects.make_config_map(draft, node, owner)
        path = f"{draft.location.make_core_path('configmaps')}/{made['metadata']['name']}"
        kube.patch(path, [{"op": "replace", "path": "/data", "value": made["data"]}], kind="json")


def apply_shared_objects(kube: KubeClient, draft: BuilderSpec, owner: Mapping[str, str], login: Secret | None) -> None:
    """Add what this node needs to the objects that all nodes share; ``login`` is for the node's images."""
    location = draft.location
    keys = {name: content.reveal() for name, content in registries.list_keys(draft.settings).items()}
    if secrets := buildkitd.make_proxy_files(draft) | keys:
        encoded = {name: base64.b64encode(value).decode() for name, value in secrets.items()}
        kube.patch(f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}", {"data": encoded})
    if login is not None:
        _share_login(kube, draft, owner, login)
    if draft.settings.network is not None:
        _apply(kube, location.policies_path, objects.make_network_policy(draft, draft.settings.network, [owner]))


def merge_logins(before: bytes, login: Secret) -> Secret:
    """Return a docker configuration with the logins of both; ``login`` takes precedence."""
    known, added = _read_auths(before), _read_auths(login.reveal())
    return Secret(json.dumps({"auths": {**known, **added}}))


def _share_login(kube: KubeClient, draft: BuilderSpec, owner: Mapping[str, str], login: Secret) -> None:
    """Add the node's logins to the shared Secret; those of other nodes stay, for registries of their own."""
    made = lasting_objects.make_pull_secret(draft, login, owner)
    collection = draft.location.make_core_path("secrets")
    try:
        kube.create(collection, made)
    except Conflict:

        def add(found: Manifest) -> Manifest:
            before = base64.b64decode(found.get("data", {}).get(objects.LOGIN_FILE, ""))
            return {"data": lasting_objects.make_pull_secret(draft, merge_logins(before, login), owner)["data"]}

        amend_object(kube, f"{collection}/{made['metadata']['name']}", add)


def _apply(kube: KubeClient, collection: str, manifest: Manifest) -> None:
    """Create an object, or patch an existing one to match it."""
    try:
        kube.create(collection, manifest)
    except Conflict:
        kube.patch(f"{collection}/{manifest['metadata']['name']}", manifest)


def _read_auths(config: bytes) -> dict[str, Any]:
    try:
        found = parse_json(config or b"{}").get("auths")
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
