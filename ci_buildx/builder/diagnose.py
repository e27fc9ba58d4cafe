"""From what the cluster says about a pod to a verdict: pure, one rule after the other.

Reasons and wording are those of Kubernetes v1.34.2: ``pkg/kubelet/images/types.go``, ``pkg/kubelet/container/
sync_result.go``, ``pkg/kubelet/events/event.go`` and k8s.io/api ``core/v1/types.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.builder import admission, images, loss, scheduling
from ci_buildx.builder.pods import (
    CONTAINER,
    Object,
    blocking_statuses,
    daemon_status,
    is_ready,
    is_terminating,
    sidecar_statuses,
    state,
)
from ci_buildx.builder.verdict import Case, Stage, Verdict, times_seen
from ci_buildx.model.pattern import pattern

_TRIES = 3
"""How often the kubelet may fail at what sometimes heals by itself."""

_MOUNT = ("FailedMount", "FailedAttachVolume")
_SANDBOX = ("FailedCreatePodSandBox",)

_BROKEN_CONTAINER = {
    "CreateContainerConfigError": "check the pod template",
    "CreateContainerError": "the node's container runtime refuses it",
    "RunContainerError": "the image may be no BuildKit image, check driver-opt image",
}
_SECCOMP = "seccomp"
"""In what runtimes say where the node lacks a profile (containerd v2.4.2, ``contrib/seccomp/seccomp.go``)."""
_PROFILE = "the node has no such profile: check driver-opt seccomp-profile"


_CONFIG_CURES = (
    (pattern(r"runAsNonRoot"), "a policy or the pod template demands runAsNonRoot: set rootless=true, or exempt it"),
    (pattern(r"couldn't find key"), "the Secret or ConfigMap lacks that key: check driver-opt pod-template"),
    (pattern(r"not found"), "the pod refers to a Secret or ConfigMap that is not there"),
    (pattern(r"subPath"), "check the subPath of the pod template's volumeMounts"),
)
"""What a CreateContainerConfigError says (kubernetes v1.34.2, ``pkg/kubelet/kuberuntime``), and the cure."""
_LATE = pattern(r"(?:secret|configmap) \"[^\"]*\" not found")
"""May heal: what controllers copy into a new namespace arrives after the pod."""


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
    if case.vanished or case.pod is None or state(daemon_status(case.pod), "terminated") is not None:
        return False
    if not case.pod["metadata"].get("deletionTimestamp") or (case.pod.get("status") or {}).get("phase") == "Failed":
        return False
    # That it runs is known by its answer: the kubelet's status comes up to a second later.
    containers = (case.pod.get("spec") or {}).get("containers") or ()
    return any((container.get("lifecycle") or {}).get("preStop") for container in containers)


def _ready(case: Case) -> Verdict | None:
    assert case.pod is not None
    return Verdict(Stage.READY) if is_ready(case.pod) else None


def _container(case: Case) -> Verdict | None:
    """buildkitd's container, and the init containers that it waits for, say why they do not run."""
    assert case.pod is not None
    for status in (daemon_status(case.pod), *blocking_statuses(case.pod)):
        name = str(status.get("name", CONTAINER))
        own = name == CONTAINER
        waits = state(status, "waiting")
        if waits is not None:
            verdict = _waiting(case, name, waits, restarts=int(status.get("restartCount") or 0))
            if verdict is not None:
                return verdict
        if state(status, "terminated") is not None and (own or int(status.get("restartCount") or 0) >= _TRIES):
            return loss.judge(case)
    return None


def _waiting(case: Case, name: str, waits: Object, *, restarts: int) -> Verdict | None:
    reason, message = str(waits.get("reason", "")), str(waits.get("message", ""))
    own = name == CONTAINER
    if reason in images.REASONS:
        return images.judge(case, name, reason, message)
    if reason in _BROKEN_CONTAINER:
        return _broken(case, name, reason, message)
    if reason == "CrashLoopBackOff":
        # What an init container needs may come up later: networks, vaults.
        return loss.judge(case) if own or restarts >= _TRIES else case.waiting(f"container {name}: {reason}: {message}")
    return None


def _broken(case: Case, name: str, reason: str, message: str) -> Verdict:
    """A container that cannot be made."""
    fix = _PROFILE if _SECCOMP in message else _BROKEN_CONTAINER[reason]
    if reason == "CreateContainerConfigError":
        if _LATE.search(message):
            seen = [event for event in case.recent("Failed") if message in str(event.get("message", ""))]
            if times_seen(seen) < _TRIES:
                return case.waiting(f"{reason}: {message}")
        fix = next((cure for cause, cure in _CONFIG_CURES if cause.search(message)), fix)
    told = message or "no details are given"
    return case.failed(reason, told if name == CONTAINER else f"container {name}: {told}", fix)


def _volumes(case: Case) -> Verdict | None:
    return _persistent(case, _MOUNT, "a volume cannot be mounted: check what the pod refers to and the storage class")


def _sandbox(case: Case) -> Verdict | None:
    return _persistent(case, _SANDBOX, "the node cannot set up pods: look at its network plugin and runtime")


def _persistent(case: Case, reasons: tuple[str, ...], fix: str) -> Verdict | None:
    """What may heal by itself fails when it has been seen several times."""
    assert case.pod is not None
    events = case.recent(*reasons)
    # Volumes and network are the pod's: where any container runs, they are there.
    statuses = (daemon_status(case.pod), *blocking_statuses(case.pod), *sidecar_statuses(case.pod))
    if not events or any(state(status, "running") is not None for status in statuses):
        return None
    last = events[-1]
    if times_seen(events) >= _TRIES:
        return case.failed(str(last["reason"]), str(last.get("message", "")), fix)
    return case.waiting(f"{last['reason']}: {last.get('message', '')}")


def _progress(case: Case) -> Verdict | None:
    """What it is doing, for whoever waits."""
    assert case.pod is not None
    if state(daemon_status(case.pod), "running") is not None:
        return case.waiting("buildkitd is starting")
    if beside := _trouble_beside(case.pod):
        return case.waiting(beside)
    if pulling := case.recent("Pulling"):
        return case.waiting(str(pulling[-1].get("message", "")).replace("Pulling", "pulling", 1))
    if (case.pod.get("spec") or {}).get("nodeName"):
        return case.waiting(f"the container is being made on node {case.pod['spec']['nodeName']}")
    return None


def _trouble_beside(pod: Object) -> str:
    """What ails a container beside buildkitd while buildkitd does not run yet; "" for nothing."""
    for status in (*blocking_statuses(pod), *sidecar_statuses(pod)):
        waits, ended = state(status, "waiting"), state(status, "terminated")
        if waits is not None and waits.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"container {status.get('name')}: {waits['reason']}: {waits.get('message', '')}"
        if ended is not None and ended.get("exitCode") != 0:
            return f"container {status.get('name')} ended with exit code {ended.get('exitCode')}"
    return ""


_RULES: tuple[Callable[[Case], Verdict | None], ...] = (
    _lost,
    _ready,
    scheduling.judge,
    _container,
    _volumes,
    _sandbox,
    _progress,
)
