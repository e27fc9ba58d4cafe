"""Diagnosis of pending pods: no cluster node accepts them, or their image cannot be pulled. Detects autoscalers."""

from __future__ import annotations

import re

from ci_buildx.builder.boot.observation import UNSCHEDULABLE, Autoscaler, PodCase, Verdict, count_events
from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.builder.pods import CONTAINER, Object, compute_age, find_condition
from ci_buildx.errors import KubeError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.lazy import compile_lazily

_GRACE = {
    # The scheduler may just have missed that a pod ended or a cluster node returned.
    Autoscaler.ABSENT: 2.0,
    # cluster-autoscaler scans every 10 s (its flag --scan-interval) and then reports its decision on the pod.
    Autoscaler.UNKNOWN: 12.0,
}
_GRACE_AGAIN = 30.0
"""Seconds for the successor of a lost pod: what took its place, or its cluster node, may be about to return."""
_SCALING = ("TriggeredScaleUp", "Nominated")
"""Events by which cluster-autoscaler and Karpenter announce a new cluster node."""
_NOT_SCALING = "NotTriggerScaleUp"

_NOISE = compile_lazily(r",? *(?:no new claims to deallocate|preemption:).*", re.DOTALL)
"""End of the scheduler's message on a pod: whether preemption could make room (kube-scheduler v1.34.2)."""
_ABSENT_CLAIM = compile_lazily(r"persistentvolumeclaim .* not found")
_UNBOUND = compile_lazily(r"unbound immediate PersistentVolumeClaims")
_FAILED_CLAIM = ("ProvisioningFailed", "FailedBinding")
"""Events of a claim (kube-controller-manager v1.34.2, pkg/controller/volume/events)."""
_TRIES = 3
_HOPELESS_CLAIM = compile_lazily(r"not found|no storage class is set")
_LABELS = compile_lazily(r"node affinity/selector")
_TAINTS = compile_lazily(r"untolerated taint")
# Only a cluster node's first refusal is reported, in this order: taints, labels, room (kube-scheduler v1.34.2,
# pkg/scheduler/apis/config/v1/default_plugins.go). So one that lacks room meets all other conditions.
_CAUSES = (
    (
        compile_lazily(r"Insufficient"),
        "lower driver-opts requests.* or add cluster nodes: none has enough free resources",
    ),
    (compile_lazily(r"Too many pods"), "add cluster nodes: all are full"),
    (
        compile_lazily(r"didn't have free ports"),
        "omit hostNetwork and hostPort, or wait: another pod uses the port on the matching cluster nodes",
    ),
    (compile_lazily(r"exceed max volume count"), "add cluster nodes: the existing ones cannot attach more volumes"),
    (compile_lazily(r"anti-affinity|topology spread|pod affinity"), "check the affinities of the pod template"),
    (_TAINTS, "tolerate the taints with driver-opt tolerations: the matching cluster nodes are tainted"),
    (compile_lazily(r"were unschedulable"), "uncordon or add cluster nodes: the matching ones are cordoned"),
    (_LABELS, "check driver-opt nodeselector: no cluster node has these labels"),
    (compile_lazily(r"no nodes available"), "add nodes to the cluster: it has none"),
    (
        compile_lazily(r"persistentvolumeclaim .* not found"),
        "create the claim: not found",
    ),
    (
        compile_lazily(r"volume node affinity conflict"),
        "make room on the cluster node that has the volume, or use another volume",
    ),
)
_SELECTED = "check driver-opt nodeselector: no cluster node has these labels, or all that do are tainted"


def diagnose_scheduling(case: PodCase) -> Verdict | None:
    """Return the verdict on a pod that is not scheduled; None if it is, or is about to be."""
    assert case.pod is not None
    scheduled = find_condition(case.pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    reason, message = str(scheduled.get("reason", "")), _NOISE.sub("", str(scheduled.get("message", "")))
    if reason != UNSCHEDULABLE:
        return case.make_waiting(f"{reason or 'is not scheduled yet'}: {message}")
    said = case.list_recent(*_SCALING, _NOT_SCALING)[-1:]
    if said and said[0]["reason"] in _SCALING:
        return case.make_waiting(
            f"a cluster node is being added: {said[0]['reason']}: {said[0].get('message', '')}", scaling=True
        )
    if _UNBOUND.search(message):
        return _diagnose_claims(case, message)
    if (case.pod.get("status") or {}).get("nominatedNodeName"):
        return case.make_waiting("is waiting for the preemption of pods with lower priority")
    if said:
        message = f"{message}; the autoscaler: {said[0].get('message', '')}"
    elif not _diagnose_overdue(case, str(scheduled.get("lastTransitionTime", "")), message):
        return case.make_waiting(f"{reason}: {message}")
    return case.make_failure(reason, message, _choose_scheduling_fix(case.pod, message))


def _diagnose_claims(case: PodCase, message: str) -> Verdict:
    """Return the verdict on an unbound claim; provisioners are slow and report obstacles by events."""
    failures = case.list_recent(*_FAILED_CLAIM)
    if not failures:
        return case.make_waiting(message)
    last = str(failures[-1].get("message", ""))
    if _HOPELESS_CLAIM.search(last) or count_events(failures) >= _TRIES:
        return case.make_failure(
            str(failures[-1]["reason"]), last, "check driver-opt storage-class: the claim cannot be bound"
        )
    return case.make_waiting(f"{failures[-1]['reason']}: {last}")


def _diagnose_overdue(case: PodCase, since: str, message: str) -> bool:
    # A new cluster node does not supply a missing claim.
    grace = _GRACE.get(Autoscaler.ABSENT if _ABSENT_CLAIM.search(message) else case.autoscaler)
    if grace is not None and case.retried:
        grace = max(grace, _GRACE_AGAIN)
    return grace is not None and compute_age(since, case.now) >= grace


def _choose_scheduling_fix(pod: Object, message: str) -> str:
    for cause, cure in _CAUSES:
        if cause.search(message):
            doubtful = cause is _TAINTS and _LABELS.search(message) and _has_node_selection(pod)
            return _SELECTED if doubtful else cure
    return "check the cluster nodes"


def _has_node_selection(pod: Object) -> bool:
    """Return whether the user selected cluster nodes; the architecture alone is kube-builder's choice."""
    return bool((pod.get("spec") or {}).get("nodeSelector", {}).keys() - {ARCHITECTURE})


_KARPENTER_GROUP = "karpenter.sh"
_STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
"""ConfigMap with the status of cluster-autoscaler, also of cloud providers' (its flag --status-config-map-name)."""


def detect_autoscaler(kube: KubeClient) -> Autoscaler:
    """Look for Karpenter's API and for cluster-autoscaler's status; UNKNOWN if that cannot be read."""
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


REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "SignatureValidationFailed"})
_OPTION = "driver-opt image"
_PULLS, _SILENT_PULLS = 3, 2
"""Pulls after which an image is given up, and one of a registry that is not reached at all.

The kubelet pauses 10 s after the first, 20 s after the second.
"""
_NO_ANSWER = "check the network between the cluster node and the registry: the registry does not respond"

_PULL_FAILED = "Failed to pull image"
"""Start of the event's message for a failed pull (kubelet v1.34.2, ``pkg/kubelet/images/image_manager.go``)."""
_NO_LOGIN = "check driver-opt image and the cluster node's login: it is not allowed to pull the image"
_MISSING = "there is no Secret"
_LATE = 2
"""Pulls after which a missing Secret is no longer waited for; controllers copy Secrets into new namespaces."""
_UNRETRIEVED = "FailedToRetrieveImagePullSecret"
"""Reason of the event about missing pull Secrets of a pod (kubelet v1.34.2, ``pkg/kubelet/kubelet_pods.go``)."""
_UNFOUND = compile_lazily(r"image pull secrets \(([^)]+)\)")
_ABSENT = compile_lazily(r"not found|manifest unknown|name unknown|does not exist|no match for platform", re.IGNORECASE)
_DENIED = compile_lazily(
    r"denied|unauthori[sz]ed|authori[sz]ation failed|authentication required|forbidden|no basic auth", re.IGNORECASE
)
_NETWORK = compile_lazily(
    r"timeout|timed out|refused|no such host|name resolution|unreachable|connection reset|\bEOF\b|TLS handshake|"
    r"too ?many ?requests|\b5\d\d (?:internal|bad|service|gateway)|unavailable",
    re.IGNORECASE,
)

_SILENT = compile_lazily(r"connection refused|no such host|unreachable|i/o timeout")
"""Errors of Go's dialer: no registry answered at all (Go 1.26, ``net`` and ``syscall``)."""


def diagnose_image_pull(case: PodCase, name: str, reason: str, message: str) -> Verdict:
    """Return the verdict on container ``name``, which waits for its image for ``reason``, one of REASONS."""
    # Each pull may end with three events; only this one has the cause.
    failures = [event for event in case.list_recent("Failed") if _PULL_FAILED in str(event.get("message", ""))]
    # Up to Kubernetes 1.30 the back-off's message does not repeat the cause; the event has it.
    told = message if reason != "ImagePullBackOff" or not failures else f"{message} {failures[-1].get('message', '')}"
    detail = _choose_detail(message, str(failures[-1].get("message", "")) if failures else "")
    option = _OPTION
    if name != CONTAINER:
        detail, option = f"container {name}: {detail}", f"the image of container {name}"
    if reason in _HOPELESS:
        return case.make_failure(reason, detail, f"check {option}")
    network = bool(_NETWORK.search(told))
    if not network and _DENIED.search(told):
        cure = _advise_login(case, option)
        if cure.startswith(_MISSING) and count_events(failures) < _LATE:
            return case.make_waiting(f"{reason}: {detail}")
        return case.make_failure(reason, detail, cure)
    if not network and _ABSENT.search(told):
        return case.make_failure(reason, detail, f"check {option}: name, tag and platform")
    silent = bool(_SILENT.search(told))
    cure = f"{_NO_ANSWER}; is {option} right?" if silent else _NO_ANSWER
    if count_events(failures) >= (_SILENT_PULLS if silent else _PULLS):
        return case.make_failure(reason, detail, cure)
    if silent:
        return case.make_late(f"the registry does not respond, the cluster node tries again: {reason}: {detail}", cure)
    return case.make_waiting(f"{reason}: {detail}")


def _advise_login(case: PodCase, option: str) -> str:
    """Return the fix if the cluster node's login, or that of the Secrets named by the pod, does not suffice."""
    assert case.pod is not None
    named = [str(secret.get("name")) for secret in (case.pod.get("spec") or {}).get("imagePullSecrets") or ()]
    if not named:
        return _NO_LOGIN.replace(_OPTION, option)
    said = "\n".join(str(event.get("message", "")) for event in case.list_recent(_UNRETRIEVED))
    found = _UNFOUND.search(said)
    why = f"{_MISSING} {found[1]}" if found else f"Secret {', '.join(named)} does not permit the pull"
    return f"{why}: check driver-opt image-pull-secrets"


def _choose_detail(message: str, event: str) -> str:
    """Return the longer text, which has the cause."""
    return max((message, event), key=len) or "no details available"
