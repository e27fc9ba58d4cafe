"""Verdicts on pods from what the cluster reports: pure rules, tried one after the other.

Reasons and wording are those of Kubernetes v1.34.2: ``pkg/kubelet/images/types.go``,
``pkg/kubelet/container/sync_result.go``, ``pkg/kubelet/events/event.go`` and k8s.io/api ``core/v1/types.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.builder.boot import admission, pending, termination
from ci_buildx.builder.boot.observation import PodCase, PodStage, Verdict, count_events
from ci_buildx.builder.pods import (
    CONTAINER,
    OWN_VOLUMES,
    Object,
    compute_age,
    find_state,
    find_termination,
    is_ready,
    is_terminating,
    list_blocking_statuses,
    list_sidecar_statuses,
    read_daemon_status,
)
from ci_buildx.model.lazy import compile_lazily

_TRIES = 3
"""Failures of the kubelet that are tolerated for problems which sometimes resolve on their own."""

_STEADY = 10.0
"""Seconds after which a buildkitd that ends had been up: it does not fail for its configuration."""
_BACK_OFF = "CrashLoopBackOff"
_MOUNT = ("FailedMount", "FailedAttachVolume")
_OWN_VOLUME = compile_lazily(rf'for volume "(?:{"|".join(OWN_VOLUMES)})" : (?:secret|configmap) "[^"]*" not found')
"""Message about an object that is created after the Job: the API server may not be reached for a while in between.

Wording: kubernetes v1.34.2, ``pkg/kubelet/volumemanager`` and ``pkg/volume/secret``.
"""
_OWN_MISSING = "check what deletes the builder's Secrets and ConfigMaps, and create the builder again"
_SANDBOX = ("FailedCreatePodSandBox",)

_BROKEN_CONTAINER = {
    "CreateContainerConfigError": "check the pod template",
    "CreateContainerError": "check the cluster node's container runtime, which rejects the container",
    "RunContainerError": "check driver-opt image: it may not be a BuildKit image",
}
_SECCOMP = "seccomp"
"""Word in runtimes' errors if the cluster node lacks a profile (containerd v2.4.2, ``contrib/seccomp/seccomp.go``)."""
_PROFILE = "check driver-opt seccomp-profile: profile not found on the cluster node"


_CONFIG_CURES = (
    (
        compile_lazily(r"runAsNonRoot"),
        "set rootless=true, or exempt the pod: a policy or the pod template requires runAsNonRoot",
    ),
    (compile_lazily(r"couldn't find key"), "check driver-opt pod-template: key not found in the Secret or ConfigMap"),
    (compile_lazily(r"not found"), "create the Secret or ConfigMap that the pod refers to: not found"),
    (compile_lazily(r"subPath"), "check the subPath of the pod template's volumeMounts"),
)
"""Messages of CreateContainerConfigError (kubernetes v1.34.2, ``pkg/kubelet/kuberuntime``), and their fixes."""
_LATE = compile_lazily(r"(?:secret|configmap) \"[^\"]*\" not found")
"""Message that may resolve: controllers copy Secrets and ConfigMaps into a new namespace after the pod is created."""


def diagnose(case: PodCase) -> Verdict:
    """Return the verdict on one pod, or on a Job that has no pod yet."""
    if case.pod is None:
        return admission.diagnose_admission(case)
    for rule in _RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return case.make_waiting("is starting")


def _diagnose_loss(case: PodCase) -> Verdict | None:
    if case.vanished or (case.pod is not None and is_terminating(case.pod)):
        # Builds on a draining pod continue; new builds do not choose it.
        return Verdict(PodStage.READY) if case.served and _is_draining(case) else termination.diagnose_termination(case)
    return None


def _is_draining(case: PodCase) -> bool:
    """Return whether the pod is being deleted but finishes builds under way, as lasting builders' pods do."""
    if case.vanished or case.pod is None or find_state(read_daemon_status(case.pod), "terminated") is not None:
        return False
    if not case.pod["metadata"].get("deletionTimestamp") or (case.pod.get("status") or {}).get("phase") == "Failed":
        return False
    # buildkitd's answer proves that it runs: the kubelet's status comes up to a second later.
    containers = (case.pod.get("spec") or {}).get("containers") or ()
    return any((container.get("lifecycle") or {}).get("preStop") for container in containers)


def _diagnose_restart(case: PodCase) -> Verdict | None:
    """Judge a pod whose buildkitd has ended since it answered, although it may run again: builds in it are lost."""
    return termination.diagnose_termination(case) if case.restarted else None


def _diagnose_ready(case: PodCase) -> Verdict | None:
    assert case.pod is not None
    return Verdict(PodStage.READY) if is_ready(case.pod) else None


def _diagnose_container(case: PodCase) -> Verdict | None:
    """Judge buildkitd's container, and the init containers that it waits for, by their states."""
    assert case.pod is not None
    for status in (read_daemon_status(case.pod), *list_blocking_statuses(case.pod)):
        name = str(status.get("name", CONTAINER))
        own = name == CONTAINER
        waits, ended = find_state(status, "waiting"), find_state(status, "terminated")
        stopped = ended is not None or (waits or {}).get("reason") == _BACK_OFF
        if own and stopped and _is_restarted(case, status):
            cause = termination.find_cause(case)
            return case.make_waiting(f"{cause.reason}: {cause.detail}; the cluster node restarts it")
        if waits is not None:
            verdict = _diagnose_waiting(case, name, waits, restarts=int(status.get("restartCount") or 0))
            if verdict is not None:
                return verdict
        if ended is not None and (own or int(status.get("restartCount") or 0) >= _TRIES):
            return termination.diagnose_termination(case)
    return None


def _is_restarted(case: PodCase, status: Object) -> bool:
    """Return whether the kubelet restarts a buildkitd that had been up: another build's step may have ended it.

    No build of this process may be under way in it: that one is lost.
    """
    ended, spec = find_termination(status), (case.pod or {}).get("spec") or {}
    if case.outdated:
        return True
    if case.answered or ended is None or spec.get("restartPolicy") != "Always":
        return False
    if case.left and termination.find_cause(case).repeatable:
        return True
    began, over = (compute_age(str(ended.get(name, "")), case.now) for name in ("startedAt", "finishedAt"))
    return began - over >= _STEADY


def _diagnose_waiting(case: PodCase, name: str, waits: Object, *, restarts: int) -> Verdict | None:
    reason, message = str(waits.get("reason", "")), str(waits.get("message", ""))
    own = name == CONTAINER
    if reason in pending.REASONS:
        return pending.diagnose_image_pull(case, name, reason, message)
    if reason in _BROKEN_CONTAINER:
        return _diagnose_broken(case, name, reason, message)
    if reason == _BACK_OFF:
        # An init container may depend on something that comes up later, such as a network or a vault.
        return (
            termination.diagnose_termination(case)
            if own or restarts >= _TRIES
            else case.make_waiting(f"container {name}: {reason}: {message}")
        )
    return None


def _diagnose_broken(case: PodCase, name: str, reason: str, message: str) -> Verdict:
    """Return the verdict on a container that cannot be created."""
    fix = _PROFILE if _SECCOMP in message else _BROKEN_CONTAINER[reason]
    if reason == "CreateContainerConfigError":
        fix = next((cure for cause, cure in _CONFIG_CURES if cause.search(message)), fix)
        if _LATE.search(message):
            seen = [event for event in case.list_recent("Failed") if message in str(event.get("message", ""))]
            if count_events(seen) < _TRIES:
                return case.make_late(f"{reason}: {message}", fix)
    told = message or "no details available"
    return case.make_failure(reason, told if name == CONTAINER else f"container {name}: {told}", fix)


def _diagnose_volumes(case: PodCase) -> Verdict | None:
    return _require_repetition(
        case, _MOUNT, "check the volumes that the pod refers to and the storage class: a volume cannot be mounted"
    )


def _diagnose_sandbox(case: PodCase) -> Verdict | None:
    return _require_repetition(
        case, _SANDBOX, "check the cluster node's network plugin and runtime: it cannot set up pods"
    )


def _require_repetition(case: PodCase, reasons: tuple[str, ...], fix: str) -> Verdict | None:
    """Fail only when a problem that may resolve on its own has occurred several times."""
    assert case.pod is not None
    events = case.list_recent(*reasons)
    # Volumes and network belong to the pod: if any container runs, they are set up.
    statuses = (read_daemon_status(case.pod), *list_blocking_statuses(case.pod), *list_sidecar_statuses(case.pod))
    if not events or any(find_state(status, "running") is not None for status in statuses):
        return None
    settled = [event for event in events if not _OWN_VOLUME.search(str(event.get("message", "")))]
    if count_events(settled) >= _TRIES:
        return case.make_failure(str(settled[-1]["reason"]), str(settled[-1].get("message", "")), fix)
    waited_for = f"{events[-1]['reason']}: {events[-1].get('message', '')}"
    return case.make_waiting(waited_for) if settled else case.make_late(waited_for, _OWN_MISSING)


def _describe_progress(case: PodCase) -> Verdict | None:
    """Return what the pod is doing, as a waiting verdict."""
    assert case.pod is not None
    if find_state(read_daemon_status(case.pod), "running") is not None:
        return case.make_waiting("buildkitd is starting")
    if beside := _describe_sidecar_failure(case.pod):
        return case.make_waiting(beside)
    if pulling := case.list_recent("Pulling"):
        return case.make_waiting(str(pulling[-1].get("message", "")).replace("Pulling", "pulling", 1))
    if (case.pod.get("spec") or {}).get("nodeName"):
        return case.make_waiting(f"creating the container on cluster node {case.pod['spec']['nodeName']}")
    return None


def _describe_sidecar_failure(pod: Object) -> str:
    """Describe the failure of a container other than buildkitd's while buildkitd is not running; "" if none fails."""
    for status in (*list_blocking_statuses(pod), *list_sidecar_statuses(pod)):
        waits, ended = find_state(status, "waiting"), find_state(status, "terminated")
        if waits is not None and waits.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"container {status.get('name')}: {waits['reason']}: {waits.get('message', '')}"
        if ended is not None and ended.get("exitCode") != 0:
            return f"container {status.get('name')} ended with exit code {ended.get('exitCode')}"
    return ""


_RULES: tuple[Callable[[PodCase], Verdict | None], ...] = (
    _diagnose_loss,
    _diagnose_restart,
    _diagnose_ready,
    pending.diagnose_scheduling,
    _diagnose_container,
    _diagnose_volumes,
    _diagnose_sandbox,
    _describe_progress,
)
