"""The volumes of lasting builders: their StatefulSets make claims and never remove them."""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest
from ci_buildx.builder.lifecycle.records import StoredBuilder
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import Reclaim

PLURAL = "persistentvolumeclaims"


def list_retained_claims(kube: KubeClient, location: BuilderLocation, node: str = "") -> tuple[str, ...]:
    """The names of a builder's claims, or of one node's, that nobody has deleted. Raises KubeError."""
    found = _list_claims(kube, location)
    return tuple(sorted(one["metadata"]["name"] for one in found if not node or _read_node_name(one) == node))


def list_retaining_nodes(kube: KubeClient, record: StoredBuilder) -> set[str]:
    """The nodes whose volumes are to stay when the builder goes: those that say so, and those that left theirs.

    Raises KubeError.
    """
    known = {node.name: node.retains for node in record.nodes}
    gone = {
        _read_node_name(one)
        for one in _list_claims(kube, record.location)
        if one["metadata"]["labels"].get(labels.RECLAIM) == Reclaim.RETAIN and _read_node_name(one) not in known
    }
    return gone | {name for name, retains in known.items() if retains}


def _list_claims(kube: KubeClient, location: BuilderLocation) -> list[Manifest]:
    """Who may not see them has made none."""
    try:
        found = kube.list(location.make_core_path(PLURAL), labelSelector=location.selector)["items"]
    except Forbidden:
        return []
    return [one for one in found if not one["metadata"].get("deletionTimestamp")]


def _read_node_name(claim: Manifest) -> str:
    return str(claim["metadata"]["labels"].get(labels.NODE, ""))
