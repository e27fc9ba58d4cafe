"""Volume claims of lasting builders: their StatefulSets create claims and never delete them."""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest
from ci_buildx.builder.lifecycle.records import StoredBuilder
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import Reclaim

PLURAL = "persistentvolumeclaims"


def list_retained_claims(kube: KubeClient, location: BuilderLocation, node: str = "") -> tuple[str, ...]:
    """Return the names of a builder's claims, or of one node's, that are not being deleted. Raises KubeError."""
    found = _list_claims(kube, location)
    return tuple(sorted(one["metadata"]["name"] for one in found if not node or _read_node_name(one) == node))


def list_retaining_nodes(kube: KubeClient, record: StoredBuilder) -> set[str]:
    """Return the nodes whose volumes stay when the builder is removed. Raises KubeError.

    These are the nodes with that setting, and removed nodes that left their volumes.
    """
    known = {node.name: node.retains for node in record.nodes}
    gone = {
        _read_node_name(one)
        for one in _list_claims(kube, record.location)
        if one["metadata"].get("labels", {}).get(labels.RECLAIM) == Reclaim.RETAIN and _read_node_name(one) not in known
    }
    return gone | {name for name, retains in known.items() if retains}


def _list_claims(kube: KubeClient, location: BuilderLocation) -> list[Manifest]:
    """List the builder's claims; none if that is forbidden, because such an account has not created any."""
    try:
        found = kube.list(location.make_core_path(PLURAL), labelSelector=location.selector)["items"]
    except Forbidden:
        return []
    return [one for one in found if not one["metadata"].get("deletionTimestamp")]


def _read_node_name(claim: Manifest) -> str:
    return str(claim["metadata"].get("labels", {}).get(labels.NODE, ""))
