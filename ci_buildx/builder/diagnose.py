"""From what the cluster says about a pod to a verdict: pure, one rule after the other.

Reasons and wording are those of Kubernetes v1.34.2: ``pkg/kubelet/images/types.go``, ``pkg/kubelet/container/
sync_result.go``, ``pkg/kubelet/events/event.go`` and k8s.io/api ``core/v1/types.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.builder import admission, images, loss, scheduling
from ci_buildx.builder.pods import condition, container_states, is_terminating
from ci_buildx.builder.verdict import Case, Stage, Verdict, times_seen

_TRIES = 3
"""How often the kubelet may fail at what sometimes heals by itself."""

_MOUNT = ("FailedMount", "FailedAttachVolume")
_SANDBOX = ("FailedCreatePodSandBox",)

_BROKEN_CONTAINER = {
    "CreateContainerConfigError": "the pod refers to a Secret or ConfigMap that is not there",
    "CreateContainerError": "the node's container runtime refuses it",
    "RunContainerError": "the image may be no BuildKit image, check driver-opt image",
}
_SECCOMP = "seccomp"
"""In what runtimes say where the node lacks a profile (containerd v2.4.2, ``contrib/seccomp/seccomp.go``)."""
_PROFILE = "the node has no such profile: check driver-opt seccomp-profile"


def judge(case: Case) -> Verdict:
    """The verdict on one pod, or on a Job that has none yet."""
    if case.pod is None:
        return admission.judge(case)
    for rule in _RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return case.waiting("is starting")


def _lost(case: Case) -> Verdict | None:
    if case.vanished or (case.pod is not None and is_terminating(case.pod)):
        # What is built on a pod that drains goes on; no new build chooses it.
        return Verdict(Stage.READY) if case.served and _drains(case) else loss.judge(case)
    return None


def _drains(case: Case) -> bool:
    """Whether the pod is being deleted and lets what is under way finish, as builders that last do."""
    if case.vanished or case.pod is None or container_states(case.pod, "terminated"):
        return False
    if not case.pod["metadata"].get("deletionTimestamp") or (case.pod.get("status") or {}).get("phase") == "Failed":
        return False
    # That it runs is known by its answer: the kubelet's status comes up to a second later.
    containers = (case.pod.get("spec") or {}).get("containers") or ()
    return any((container.get("lifecycle") or {}).get("preStop") for container in containers)


def _ready(case: Case) -> Verdict | None:
    assert case.pod is not None
    return Verdict(Stage.READY) if condition(case.pod, "Ready").get("status") == "True" else None


def _container(case: Case) -> Verdict | None:
    """A container that waits says why."""
    assert case.pod is not None
    for state in container_states(case.pod, "waiting"):
        reason, message = state.get("reason", ""), state.get("message", "")
        if reason in images.REASONS:
            return images.judge(case, reason, message)
        if reason in _BROKEN_CONTAINER:
            fix = _PROFILE if _SECCOMP in message else _BROKEN_CONTAINER[reason]
            return case.failed(reason, message or "no details are given", fix)
        if reason == "CrashLoopBackOff":
            return loss.judge(case)
    if container_states(case.pod, "terminated"):
        return loss.judge(case)
    return None


def _volumes(case: Case) -> Verdict | None:
    return _persistent(case, _MOUNT, "a volume cannot be mounted: check what the pod refers to and the storage class")


def _sandbox(case: Case) -> Verdict | None:
    return _persistent(case, _SANDBOX, "the node cannot set up pods: look at its network plugin and runtime")


def _persistent(case: Case, reasons: tuple[str, ...], fix: str) -> Verdict | None:
    """What may heal by itself fails when it has been seen several times."""
    assert case.pod is not None
    events = case.recent(*reasons)
    if not events or container_states(case.pod, "running"):
        return None
    last = events[-1]
    if times_seen(events) >= _TRIES:
        return case.failed(str(last["reason"]), str(last.get("message", "")), fix)
    return case.waiting(f"{last['reason']}: {last.get('message', '')}")


def _progress(case: Case) -> Verdict | None:
    """What it is doing, for whoever waits."""
    assert case.pod is not None
    if container_states(case.pod, "running"):
        return case.waiting("buildkitd is starting")
    if pulling := case.recent("Pulling"):
        return case.waiting(str(pulling[-1].get("message", "")).replace("Pulling", "pulling", 1))
    if (case.pod.get("spec") or {}).get("nodeName"):
        return case.waiting(f"the container is being made on node {case.pod['spec']['nodeName']}")
    return None


_RULES: tuple[Callable[[Case], Verdict | None], ...] = (
    _lost,
    _ready,
    scheduling.judge,
    _container,
    _volumes,
    _sandbox,
    _progress,
)
