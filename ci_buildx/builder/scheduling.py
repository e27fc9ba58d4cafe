"""A pod that no node takes."""

from __future__ import annotations

import re

from ci_buildx.builder.pods import age, condition
from ci_buildx.builder.verdict import Autoscaler, Case, Verdict

_GRACE = {
    # The scheduler may just have missed a pod's end or a node's return.
    Autoscaler.ABSENT: 3.0,
    # cluster-autoscaler looks every 10 s (its flag --scan-interval) and says then what it thinks of the pod.
    Autoscaler.UNKNOWN: 12.0,
}
_SCALING = ("TriggeredScaleUp", "Nominated")
"""Events by which cluster-autoscaler and Karpenter say that a node is on its way."""
_NOT_SCALING = "NotTriggerScaleUp"

_CAUSES = (
    (re.compile(r"node affinity/selector"), "no node has these labels: check driver-opt nodeselector"),
    (re.compile(r"Insufficient"), "no node has that much room: lower driver-opts requests.* or add nodes"),
    (re.compile(r"untolerated taint"), "the nodes that would fit are reserved by taints"),
    (re.compile(r"Too many pods"), "the nodes are full"),
    (re.compile(r"no nodes available"), "the cluster has no nodes"),
)


def judge(case: Case) -> Verdict | None:
    """The verdict on a pod that is not scheduled; None if it is, or is just about to be."""
    assert case.pod is not None
    scheduled = condition(case.pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    reason, message = str(scheduled.get("reason", "")), str(scheduled.get("message", ""))
    if reason != "Unschedulable":
        return case.waiting(f"{reason or 'is not scheduled yet'}: {message}")
    if scaling := case.recent(*_SCALING):
        return case.waiting(f"{scaling[-1]['reason']}: {scaling[-1].get('message', '')}")
    if (case.pod.get("status") or {}).get("nominatedNodeName"):
        return case.waiting("waits for pods of lower priority to make room")
    if refused := case.recent(_NOT_SCALING):
        message = f"{message}; the autoscaler: {refused[-1].get('message', '')}"
    elif not _overdue(case, str(scheduled.get("lastTransitionTime", ""))):
        return case.waiting(f"{reason}: {message}")
    return case.failed(reason, message, _cure(message))


def _overdue(case: Case, since: str) -> bool:
    grace = _GRACE.get(case.autoscaler)
    return grace is not None and age(since, case.now) >= grace


def _cure(message: str) -> str:
    return next((cure for pattern, cure in _CAUSES if pattern.search(message)), "look at the cluster's nodes")
