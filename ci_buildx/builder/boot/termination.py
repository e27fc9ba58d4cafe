"""Diagnosis of pods that have ended or are being deleted."""

from __future__ import annotations

from ci_buildx.builder.boot.observation import PodCase, PodStage, Verdict
from ci_buildx.builder.pods import (
    CONTAINER,
    Object,
    compute_age,
    find_condition,
    find_termination,
    list_blocking_statuses,
    read_daemon_status,
)
from ci_buildx.errors import PodLost
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass

_SIGNALLED = 128
"""Number that runtimes add to a signal's number to form an exit code."""
_LINES = 5
"""Number of the daemon's last output lines to show."""
_COMPLAINT = "buildkitd: "
"""Start of the line with the error that ends buildkitd; a Go stack follows it (``cmd/buildkitd/main.go``)."""
_USAGE = "--help, -h"
"""Start of a line in the list of flags, which buildkitd prints after the error if a flag is invalid.

The error itself is lost, because the status holds only the last 2 KiB.
"""

_PORT_TAKEN = "address already in use"
_FREE_PORT = "omit hostNetwork, or choose other cluster nodes: another process on this one uses the port"

_AGAIN = "build again: another cluster node will be used"
_DISRUPTIONS = {
    "PreemptionByScheduler": (
        "it was preempted by a pod with higher priority",
        "set driver-opt priority-class, or select dedicated cluster nodes with driver-opt nodeselector",
    ),
    "DeletionByTaintManager": (
        "its cluster node was tainted",
        "build again, or tolerate the taint with driver-opt tolerations",
    ),
    "EvictionByEvictionAPI": ("its cluster node was drained", _AGAIN),
    "DeletionByPodGC": ("its cluster node was removed", _AGAIN),
    "TerminationByKubelet": ("its cluster node ran out of resources or shut down", _AGAIN),
}
"""Meanings of the DisruptionTarget condition's reasons (k8s.io/api v0.34.2, ``core/v1/types.go``), and the fixes."""

_FULL = "OutOf"
"""Start of the reasons of a kubelet that has less room than the scheduler saw, for example ``OutOfcpu``.

Source: kubernetes v1.34.2, ``pkg/kubelet/lifecycle/predicate.go``.
"""
_EVICTED = "Evicted"
"""Reason of the event before a kubelet kills a pod, and of the pod afterwards (v1.34.2, ``pkg/kubelet/eviction``)."""
_NO_APPARMOR = "AppArmor"
"""Kubelet's reason to reject a pod that its node cannot confine (kubernetes v1.34.2, ``kubelet/lifecycle``)."""
_NODE_REASONS = frozenset((_EVICTED, "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated"))
"""Reasons in the status of a pod that a cluster node has ended for its own sake.

Source: kubernetes v1.34.2, ``pkg/kubelet`` (eviction, preemption, nodeshutdown) and ``pkg/util/node``.
"""
_OWN_LIMIT = compile_lazily(r"[Ee]xceed\w* .*\blimit")
"""Evictions of a pod for its own use of the disk, which another pod would repeat (v1.34.2, ``pkg/kubelet/eviction``).

Evictions because the node is low on a resource contain no limit.
"""
_KILLED = (_SIGNALLED + 9, _SIGNALLED + 15)
"""Exit codes of a process that was killed from outside, by SIGKILL or SIGTERM, rather than by a fault of its own."""

_LAST_SECONDS = 5.0
"""Difference that the controller's clock, which starts a Job, and the API server's, which dates deletions, may have.

A pod that is lost in these seconds of its builder's lifetime is not worth another one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminationCause:
    """Why a pod ended; ``reason`` is Kubernetes' word.

    ``repeatable`` means that another pod may succeed: the cluster, a person or a crash took this one.
    """

    reason: str
    detail: str
    fix: str
    repeatable: bool = False


def diagnose_termination(case: PodCase) -> Verdict:
    """Return the verdict, always FAILED, on a pod that ended, crashes or is being deleted.

    The error is a BootError if buildkitd never answered, a PodLost if the pod was in use.
    """
    cause = find_cause(case)
    if not case.served:
        return case.make_failure(cause.reason, cause.detail, cause.fix, repeatable=cause.repeatable)
    lost = PodLost(case.subject, cause.reason, cause.detail, fix=cause.fix, repeatable=cause.repeatable)
    return Verdict(PodStage.FAILED, cause.reason, lost)


def find_cause(case: PodCase) -> TerminationCause:
    """Return the cause; actions of the cluster take precedence over how the process ended."""
    assert case.pod is not None
    status = case.pod.get("status") or {}
    if _has_passed_deadline(case):
        return TerminationCause(
            reason="DeadlineExceeded", detail="the builder's lifetime has ended", fix="set a longer lifetime"
        )
    if disruption := _read_disruption(case.pod):
        return disruption
    if status.get("reason"):
        return _make_node_cause(str(status["reason"]), str(status.get("message") or ""))
    name, ended = _read_termination(case.pod)
    deleted = case.vanished or case.pod["metadata"].get("deletionTimestamp")
    if evictions := case.list_recent(_EVICTED):  # The status that says so may follow seconds later.
        return _make_node_cause(_EVICTED, str(evictions[-1].get("message") or ""))
    if ended is not None and (not deleted or ended.get("reason") == "OOMKilled"):
        return _describe_exit(ended, served=case.served) if name == CONTAINER else _exit_beside(name, ended)
    fix = "check what deletes pods in the namespace"
    return TerminationCause(reason="Deleted", detail="it was deleted while in use", fix=fix, repeatable=True)


def _make_node_cause(reason: str, message: str) -> TerminationCause:
    """Return the cause of a pod that its cluster node rejected or ended."""
    detail = message.rstrip(". ") or "the cluster node ended it"
    repeatable = reason in _NODE_REASONS or reason.startswith(_FULL)
    return TerminationCause(
        reason=reason,
        detail=detail,
        fix=_choose_fix(reason, detail),
        repeatable=repeatable and not _OWN_LIMIT.search(detail),
    )


def _has_passed_deadline(case: PodCase) -> bool:
    failed = find_condition(case.job or {}, "Failed")
    target = find_condition(case.job or {}, "FailureTarget")
    told = "DeadlineExceeded" in (failed.get("reason"), target.get("reason"))
    return told or bool(case.list_recent("DeadlineExceeded")) or _was_deleted_at_deadline(case)


def _was_deleted_at_deadline(case: PodCase) -> bool:
    """Return whether the pod was deleted after its Job's deadline.

    The Job controller deletes the pods before it writes the Job's condition, which may take seconds (kubernetes
    v1.34.2, ``pkg/controller/job/job_controller.go``, syncJob).
    """
    job, metadata = case.job or {}, (case.pod or {}).get("metadata") or {}
    limit = (job.get("spec") or {}).get("activeDeadlineSeconds")
    began, deleted = (job.get("status") or {}).get("startTime"), metadata.get("deletionTimestamp")
    if not (limit and began and deleted):
        return False
    # The time of a deletion is that of its request plus the grace period.
    grace = int(metadata.get("deletionGracePeriodSeconds") or 0)
    return compute_age(began, case.now) - compute_age(deleted, case.now) - grace >= int(limit) - _LAST_SECONDS


def _read_disruption(pod: Object) -> TerminationCause | None:
    found = find_condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    status = pod.get("status") or {}
    reason = str(status.get("reason") or found.get("reason", ""))
    known, fix = _DISRUPTIONS.get(str(found.get("reason")), ("the cluster disrupted it", ""))
    message = str(status.get("message") or found.get("message", ""))
    detail = f"{known} ({message.rstrip('. ')})" if message else known
    own = _OWN_LIMIT.search(message)
    return TerminationCause(
        reason=reason, detail=detail, fix=_choose_fix(reason, message) or fix, repeatable=own is None
    )


def _choose_fix(reason: str, message: str) -> str:
    if reason == "NodePorts":
        return _FREE_PORT
    if reason.startswith(_FULL):
        return _AGAIN
    if reason == _NO_APPARMOR:
        return "check driver-opt apparmor-profile, or select cluster nodes with AppArmor by driver-opt nodeselector"
    if reason == _EVICTED and "exceeds the total limit" in message:
        return "raise driver-opt limits.ephemeral-storage"
    if reason == _EVICTED:
        return "set driver-opts requests.memory and requests.ephemeral-storage to what builds use"
    return ""


def _read_termination(pod: Object) -> tuple[str, Object | None]:
    """Return how buildkitd ended, else how an init container that it waits for did; sidecars do not count."""
    for status in (read_daemon_status(pod), *list_blocking_statuses(pod)):
        ended = find_termination(status)
        if ended is not None:
            return str(status.get("name", CONTAINER)), ended
    return CONTAINER, None


def _exit_beside(name: str, ended: Object) -> TerminationCause:
    """Return the cause for an init container that ended."""
    reason = str(ended.get("reason") or "Error")
    said = " | ".join(_list_last_lines(ended)[-_LINES:])
    detail = f"container {name} ended with exit code {ended.get('exitCode', 0)}" + (f": {said}" if said else "")
    if reason == "OOMKilled":
        detail, fix = f"container {name} ran out of memory", f"raise the memory limit of container {name}"
        return TerminationCause(reason=reason, detail=detail, fix=fix)
    return TerminationCause(reason=reason, detail=detail, fix=f"check container {name}: it runs before buildkitd")


def _list_last_lines(ended: Object) -> list[str]:
    """Return the last lines of a container's output, without empty ones."""
    return [line.strip() for line in str(ended.get("message") or "").splitlines() if line.strip()]


def _describe_exit(ended: Object, *, served: bool) -> TerminationCause:
    """Return the cause for buildkitd's exit; a daemon that has ``served`` is not wrong in its configuration.

    ``message`` of its status holds its last output (terminationMessagePolicy).
    """
    reason = str(ended.get("reason") or "Error")
    code = int(ended.get("exitCode", 0))
    lost = served or code in _KILLED
    if reason == "OOMKilled":
        detail, fix = "buildkitd or a step ran out of memory", "raise driver-opt limits.memory"
        return TerminationCause(reason=reason, detail=detail, fix=fix)
    if reason == "StartError":
        fix = "check driver-opt image: it may not be a BuildKit image"
        return TerminationCause(reason=reason, detail=str(ended.get("message", "")), fix=fix)
    if code > _SIGNALLED:
        detail = f"buildkitd was killed by signal {code - _SIGNALLED}"
        fix = "check what kills processes on its cluster node"
        return TerminationCause(reason=reason, detail=detail, fix=fix, repeatable=lost)
    words = _list_last_lines(ended)
    if any(line.startswith(_USAGE) for line in words):
        detail = f"buildkitd rejects a flag as unknown (exit code {code})"
        return TerminationCause(reason=reason, detail=detail, fix="check buildkitd-flags")
    complaints = [line.removeprefix(_COMPLAINT) for line in words if line.startswith(_COMPLAINT)]
    said = complaints[-1] if complaints else " | ".join(words[-_LINES:])
    detail = f"buildkitd ended with exit code {code}" + (f": {said}" if said else "")
    fix = _FREE_PORT if _PORT_TAKEN in said else "check driver-opt image, buildkitd-flags and buildkitd-config"
    return TerminationCause(reason=reason, detail=detail, fix=fix, repeatable=lost)
