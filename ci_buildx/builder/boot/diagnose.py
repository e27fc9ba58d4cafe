"""From what the cluster says about a pod to a verdict: pure, one rule after the other.

Reasons and wording are those of Kubernetes v1.34.2: ``pkg/kubelet/images/types.go``, ``pkg/kubelet/container/
sync_result.go``, ``pkg/kubelet/events/event.go`` and k8s.io/api ``core/v1/types.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.builder.boot import admission, image_pull, scheduling, termination
from ci_buildx.builder.boot.observation import PodCase, PodStage, Verdict, count_events
from ci_buildx.builder.pods import (
    CONTAINER,
    Object,
    find_state,
    is_ready,
    is_terminating,
    list_blocking_statuses,
    list_sidecar_statuses,
    read_daemon_status,
)
from ci_buildx.model.lazy import compile_lazily

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
    (
        compile_lazily(r"runAsNonRoot"),
        "a policy or the pod template demands runAsNonRoot: set rootless=true, or exempt it",
    ),
    (compile_lazily(r"couldn't find key"), "the Secret or ConfigMap lacks that key: check driver-opt pod-template"),
    (compile_lazily(r"not found"), "the pod refers to a Secret or ConfigMap that is not there"),
    (compile_lazily(r"subPath"), "check the subPath of the pod template's volumeMounts"),
)
"""What a CreateContainerConfigError says (kubernetes v1.34.2, ``pkg/kubelet/kuberuntime``), and the cure."""
_LATE = compile_lazily(r"(?:secret|configmap) \"[^\"]*\" not found")
"""May heal: what controllers copy into a new namespace arrives after the pod."""


def diagnose(case: PodCase) -> Verdict:
    """The verdict on one pod, or on a Job that has none yet."""
    if case.pod is None:
        return admission.diagnose_admission(case)
    for rule in _RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return case.make_waiting("is starting")


def _diagnose_loss(case: PodCase) -> Verdict | None:
    if case.vanished or (case.pod is not None and is_terminating(case.pod)):
        # What is built on a pod that drains goes on; no new build chooses it.
        return Verdict(PodStage.READY) if case.served and _is_draining(case) else termination.diagnose_termination(case)
    return None


def _is_draining(case: PodCase) -> bool:
    """Whether the pod is being deleted and lets what is under way finish, as builders that last do."""
    if case.vanished or case.pod is None or find_state(read_daemon_status(case.pod), "terminated") is not None:
        return False
    if not case.pod["metadata"].get("deletionTimestamp") or (case.pod.get("status") or {}).get("phase") == "Failed":
        return False
    # That it runs is known by its answer: the kubelet's status comes up to a second later.
    containers = (case.pod.get("spec") or {}).get("containers") or ()
    return any((container.get("lifecycle") or {}).get("preStop") for container in containers)


def _diagnose_ready(case: PodCase) -> Verdict | None:
    assert case.pod is not None
    return Verdict(PodStage.READY) if is_ready(case.pod) else None


def _diagnose_container(case: PodCase) -> Verdict | None:
    """buildkitd's container, and the init containers that it waits for, say why they do not run."""
    assert case.pod is not None
    for status in (read_daemon_status(case.pod), *list_blocking_statuses(case.pod)):
        name = str(status.get("name", CONTAINER))
        own = name == CONTAINER
        waits = find_state(status, "waiting")
        if waits is not None:
            verdict = _diagnose_waiting(case, name, waits, restarts=int(status.get("restartCount") or 0))
            if verdict is not None:
                return verdict
        if find_state(status, "terminated") is not None and (own or int(status.get("restartCount") or 0) >= _TRIES):
            return termination.diagnose_termination(case)
    return None


def _diagnose_waiting(case: PodCase, name: str, waits: Object, *, restarts: int) -> Verdict | None:
    reason, message = str(waits.get("reason", "")), str(waits.get("message", ""))
    own = name == CONTAINER
    if reason in image_pull.REASONS:
        return image_pull.diagnose_image_pull(case, name, reason, message)
    if reason in _BROKEN_CONTAINER:
        return _diagnose_broken(case, name, reason, message)
    if reason == "CrashLoopBackOff":
        # What an init container needs may come up later: networks, vaults.
        return (
            termination.diagnose_termination(case)
            if own or restarts >= _TRIES
            else case.make_waiting(f"container {name}: {reason}: {message}")
        )
    return None


def _diagnose_broken(case: PodCase, name: str, reason: str, message: str) -> Verdict:
    """A container that cannot be made."""
    fix = _PROFILE if _SECCOMP in message else _BROKEN_CONTAINER[reason]
    if reason == "CreateContainerConfigError":
        if _LATE.search(message):
            seen = [event for event in case.list_recent("Failed") if message in str(event.get("message", ""))]
            if count_events(seen) < _TRIES:
                return case.make_waiting(f"{reason}: {message}")
        fix = next((cure for cause, cure in _CONFIG_CURES if cause.search(message)), fix)
    told = message or "no details are given"
    return case.make_failure(reason, told if name == CONTAINER else f"container {name}: {told}", fix)


def _diagnose_volumes(case: PodCase) -> Verdict | None:
    return _require_repetition(
        case, _MOUNT, "a volume cannot be mounted: check what the pod refers to and the storage class"
    )


def _diagnose_sandbox(case: PodCase) -> Verdict | None:
    return _require_repetition(case, _SANDBOX, "the node cannot set up pods: look at its network plugin and runtime")


def _require_repetition(case: PodCase, reasons: tuple[str, ...], fix: str) -> Verdict | None:
    """What may heal by itself fails when it has been seen several times."""
    assert case.pod is not None
    events = case.list_recent(*reasons)
    # Volumes and network are the pod's: where any container runs, they are there.
    statuses = (read_daemon_status(case.pod), *list_blocking_statuses(case.pod), *list_sidecar_statuses(case.pod))
    if not events or any(find_state(status, "running") is not None for status in statuses):
        return None
    last = events[-1]
    if count_events(events) >= _TRIES:
        return case.make_failure(str(last["reason"]), str(last.get("message", "")), fix)
    return case.make_waiting(f"{last['reason']}: {last.get('message', '')}")


def _describe_progress(case: PodCase) -> Verdict | None:
    """What it is doing, for whoever waits."""
    assert case.pod is not None
    if find_state(read_daemon_status(case.pod), "running") is not None:
        return case.make_waiting("buildkitd is starting")
    if beside := _describe_sidecar_failure(case.pod):
        return case.make_waiting(beside)
    if pulling := case.list_recent("Pulling"):
        return case.make_waiting(str(pulling[-1].get("message", "")).replace("Pulling", "pulling", 1))
    if (case.pod.get("spec") or {}).get("nodeName"):
        return case.make_waiting(f"the container is being made on node {case.pod['spec']['nodeName']}")
    return None


def _describe_sidecar_failure(pod: Object) -> str:
    """What ails a container beside buildkitd while buildkitd does not run yet; "" for nothing."""
    for status in (*list_blocking_statuses(pod), *list_sidecar_statuses(pod)):
        waits, ended = find_state(status, "waiting"), find_state(status, "terminated")
        if waits is not None and waits.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"container {status.get('name')}: {waits['reason']}: {waits.get('message', '')}"
        if ended is not None and ended.get("exitCode") != 0:
            return f"container {status.get('name')} ended with exit code {ended.get('exitCode')}"
    return ""


_RULES: tuple[Callable[[PodCase], Verdict | None], ...] = (
    _diagnose_loss,
    _diagnose_ready,
    scheduling.diagnose_scheduling,
    _diagnose_container,
    _diagnose_volumes,
    _diagnose_sandbox,
    _describe_progress,
)
