"""Whether the cluster makes nodes for pods that do not fit."""

from __future__ import annotations

from ci_buildx.builder.verdict import Autoscaler
from ci_buildx.errors import KubeError, NotFound
from ci_buildx.kube.client import KubeClient

_KARPENTER_GROUP = "karpenter.sh"
_STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
"""Where cluster-autoscaler, also the cloud providers', writes its status (its flag --status-config-map-name)."""


def detect(kube: KubeClient) -> Autoscaler:
    """Look for Karpenter's API and for cluster-autoscaler's status; UNKNOWN where that may not be read."""
    try:
        groups = kube.get("/apis").get("groups") or ()
        if any(group["name"] == _KARPENTER_GROUP for group in groups):
            return Autoscaler.PRESENT
        kube.get(_STATUS)
    except NotFound:
        return Autoscaler.ABSENT
    except KubeError:
        return Autoscaler.UNKNOWN
    return Autoscaler.PRESENT
