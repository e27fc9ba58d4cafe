"""A pod that no node takes."""

from __future__ import annotations

import re

from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.builder.pods import Object, age, condition
from ci_buildx.builder.verdict import UNSCHEDULABLE, Autoscaler, Case, Verdict, times_seen
from ci_buildx.model.pattern import pattern

_GRACE = {
    # The scheduler may just have missed a pod's end or a node's return.
    Autoscaler.ABSENT: 2.0,
    # cluster-autoscaler looks every 10 s (its flag --scan-interval) and says then what it thinks of the pod.
    Autoscaler.UNKNOWN: 12.0,
}
_SCALING = ("TriggeredScaleUp", "Nominated")
"""Events by which cluster-autoscaler and Karpenter say that a node is on its way."""
_NOT_SCALING = "NotTriggerScaleUp"

_NOISE = pattern(r",? *(?:no new claims to deallocate|preemption:).*", re.DOTALL)
"""Ends what the scheduler says of a pod: whether others could make room for it (kube-scheduler v1.34.2)."""
_ABSENT_CLAIM = pattern(r"persistentvolumeclaim .* not found")
_UNBOUND = pattern(r"unbound immediate PersistentVolumeClaims")
_FAILED_CLAIM = ("ProvisioningFailed", "FailedBinding")
"""Events of a claim (kube-controller-manager v1.34.2, pkg/controller/volume/events)."""
_TRIES = 3
_HOPELESS_CLAIM = pattern(r"not found|no storage class is set")
_LABELS = pattern(r"node affinity/selector")
_TAINTS = pattern(r"untolerated taint")
# A node's first refusal is the one that counts, in this order: taints, labels, room (kube-scheduler v1.34.2,
# pkg/scheduler/apis/config/v1/default_plugins.go). So a node that lacks room has all else.
_CAUSES = (
    (pattern(r"Insufficient"), "no node has that much room: lower driver-opts requests.* or add nodes"),
    (pattern(r"Too many pods"), "the nodes are full"),
    (
        pattern(r"didn't have free ports"),
        "another pod has the port on the nodes that would fit: leave hostNetwork and hostPort out, or wait for its end",
    ),
    (pattern(r"exceed max volume count"), "the nodes can attach no more volumes: add nodes"),
    (pattern(r"anti-affinity|topology spread|pod affinity"), "check the affinities of the pod template"),
    (_TAINTS, "the nodes that would fit are reserved by taints: tolerate them by driver-opt tolerations"),
    (pattern(r"were unschedulable"), "the nodes that would fit are cordoned: uncordon one, or add nodes"),
    (_LABELS, "no node has these labels: check driver-opt nodeselector"),
    (pattern(r"no nodes available"), "the cluster has no nodes"),
    (
        pattern(r"persistentvolumeclaim .* not found"),
        "the claim is not there: make it",
    ),
    (pattern(r"volume node affinity conflict"), "its volume is on another node: free that, or use another volume"),
)
_SELECTED = "no node has these labels, or those that have are reserved by taints: check driver-opt nodeselector"


def judge(case: Case) -> Verdict | None:
    """The verdict on a pod that is not scheduled; None if it is, or is just about to be."""
    assert case.pod is not None
    scheduled = condition(case.pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    reason, message = str(scheduled.get("reason", "")), _NOISE.sub("", str(scheduled.get("message", "")))
    if reason != UNSCHEDULABLE:
        return case.waiting(f"{reason or 'is not scheduled yet'}: {message}")
    said = case.recent(*_SCALING, _NOT_SCALING)[-1:]
    if said and said[0]["reason"] in _SCALING:
        return case.waiting(f"a node is being made: {said[0]['reason']}: {said[0].get('message', '')}", scaling=True)
    if _UNBOUND.search(message):
        return _judge_claims(case, message)
    if (case.pod.get("status") or {}).get("nominatedNodeName"):
        return case.waiting("waits for pods of lower priority to make room")
    if said:
        message = f"{message}; the autoscaler: {said[0].get('message', '')}"
    elif not _overdue(case, str(scheduled.get("lastTransitionTime", "")), message):
        return case.waiting(f"{reason}: {message}")
    return case.failed(reason, message, _cure(case.pod, message))


def _judge_claims(case: Case, message: str) -> Verdict:
    """A claim that is not bound yet: provisioners take their time, and say by events what stops them."""
    failures = case.recent(*_FAILED_CLAIM)
    if not failures:
        return case.waiting(message)
    last = str(failures[-1].get("message", ""))
    if _HOPELESS_CLAIM.search(last) or times_seen(failures) >= _TRIES:
        return case.failed(
            str(failures[-1]["reason"]), last, "the claim cannot be bound: check driver-opt storage-class"
        )
    return case.waiting(f"{failures[-1]['reason']}: {last}")


def _overdue(case: Case, since: str, message: str) -> bool:
    # No new node brings a claim that is not there.
    grace = _GRACE.get(Autoscaler.ABSENT if _ABSENT_CLAIM.search(message) else case.autoscaler)
    return grace is not None and age(since, case.now) >= grace


def _cure(pod: Object, message: str) -> str:
    for cause, cure in _CAUSES:
        if cause.search(message):
            doubtful = cause is _TAINTS and _LABELS.search(message) and _selects(pod)
            return _SELECTED if doubtful else cure
    return "look at the cluster's nodes"


def _selects(pod: Object) -> bool:
    """Whether the user chose nodes: their architecture alone is our choice."""
    return bool((pod.get("spec") or {}).get("nodeSelector", {}).keys() - {ARCHITECTURE})
