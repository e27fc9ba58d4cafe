"""Pods, events and Jobs as a cluster shows them, cut down to what is read."""

from typing import Any

from ci_buildx.builder.boot.observation import PodCase

NOW = 1_777_636_810.0
"""2026-05-01T12:00:10Z."""


def pod(*, name: str = "buildkit-amd64-x", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "labels": {"kube-builder.dev/node": "amd64"}},
        "spec": {},
        "status": {"phase": "Pending", **status},
    }


def scheduled(host: str = "n1", **status: Any) -> dict[str, Any]:
    made = pod(**status)
    made["spec"]["nodeName"] = host
    return made


def waiting(reason: str, message: str = "", secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    made = scheduled(
        containerStatuses=[{"name": "buildkitd", "state": {"waiting": {"reason": reason, "message": message}}}]
    )
    made["spec"] |= {"imagePullSecrets": [{"name": name} for name in secrets]} if secrets else {}
    return made


def running(*, ready: bool = False, **status: Any) -> dict[str, Any]:
    daemon = {"name": "buildkitd", "ready": ready, "state": {"running": {}}}
    return scheduled(phase="Running", containerStatuses=[daemon], **status)


def terminated(**state: Any) -> dict[str, Any]:
    return scheduled(phase="Failed", containerStatuses=[{"name": "buildkitd", "state": {"terminated": state}}])


def deleted(**status: Any) -> dict[str, Any]:
    made = scheduled(**status)
    made["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    return made


def disrupted(reason: str) -> dict[str, Any]:
    return deleted(conditions=[{"type": "DisruptionTarget", "status": "True", "reason": reason}])


def unschedulable(message: str, since: str = "2026-05-01T12:00:00Z") -> dict[str, Any]:
    state = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(conditions=[{**state, "lastTransitionTime": since}])


def event(reason: str, message: str = "", count: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{reason}.{count}"},
        "involvedObject": {"name": "buildkit-amd64-x"},
        "reason": reason,
        "message": message,
        "count": count,
    }


def case(subject: dict[str, Any] | None, *events: dict[str, Any], **rest: Any) -> PodCase:
    return PodCase(workload="buildkit-amd64", pod=subject, events=events, now=NOW, **rest)
