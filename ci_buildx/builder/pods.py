"""Reading a Pod object as the API gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.model import timestamps
from ci_buildx.model.record import dataclass

Object = Mapping[str, Any]

CONTAINER = "buildkitd"
"""The container that a builder's pods are for; others may be beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """What matters about one pod for reaching it.

    ``node`` is the builder's node (NodePlan.name), ``host`` the cluster's ("" until scheduled), ``ip`` "" until known.
    ``running`` and ``ready`` are buildkitd's container's, whatever becomes of others beside it; ``created`` is
    RFC 3339 by the API server's clock.
    """

    name: str
    namespace: str
    node: str
    host: str = ""
    ip: str = ""
    running: bool = False
    ready: bool = False
    terminating: bool = False
    created: str = ""


def read_pod(pod: Object) -> PodView:
    """The view of a Pod object."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    return PodView(
        name=metadata["name"],
        namespace=metadata["namespace"],
        node=(metadata.get("labels") or {}).get(NODE, ""),
        host=(pod.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        running=find_state(read_daemon_status(pod), "running") is not None,
        ready=is_ready(pod),
        terminating=is_terminating(pod),
        created=metadata.get("creationTimestamp") or "",
    )


def is_terminating(pod: Object) -> bool:
    """Whether it is being deleted or has come to its end."""
    return bool(pod["metadata"].get("deletionTimestamp")) or is_over(pod)


def is_over(pod: Object) -> bool:
    """Whether it has come to its end: buildkitd has ended and is not restarted, also if a sidecar still runs."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return True
    ended = find_state(read_daemon_status(pod), "terminated") is not None
    return ended and (pod.get("spec") or {}).get("restartPolicy") == "Never"


def is_ready(pod: Object) -> bool:
    """Whether buildkitd's container is ready.

    The pod's condition Ready also asks for every sidecar (kubernetes v1.34.2, ``pkg/kubelet/status/generate.go``).
    """
    return read_daemon_status(pod).get("ready") is True


def find_condition(manifest: Object, name: str) -> Object:
    """The condition called ``name`` of a pod or Job, empty if it has none."""
    for found in (manifest.get("status") or {}).get("conditions") or ():
        if found["type"] == name:
            return dict(found)
    return {}


def read_daemon_status(pod: Object) -> Object:
    """The status of buildkitd's container, empty until the kubelet has written it."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == CONTAINER:
            return dict(status)
    return {}


def list_sidecar_statuses(pod: Object) -> list[Object]:
    """The statuses of the containers beside buildkitd's that start with it."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [status for status in statuses if status.get("name") != CONTAINER]


def list_blocking_statuses(pod: Object) -> list[Object]:
    """The statuses of the init containers that keep the others from starting.

    A native sidecar (``restartPolicy: Always``) lets them start as soon as it is ``started``; any other when it has
    ended with exit code 0.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    native = {one.get("name") for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    found: list[Object] = []
    for one in status.get("initContainerStatuses") or ():
        done = (find_state(one, "terminated") or {}).get("exitCode") == 0
        if not (one.get("started") is True if one.get("name") in native else done):
            found.append(one)
    return found


def find_state(status: Object, kind: str) -> Object | None:
    """The state of the kind ``waiting``, ``running`` or ``terminated`` of a container's status."""
    found = (status.get("state") or {}).get(kind)
    return None if found is None else dict(found)


def find_termination(status: Object) -> Object | None:
    """How a container ended, also one that was restarted since; None if it has not ended."""
    last = (status.get("lastState") or {}).get("terminated")
    return find_state(status, "terminated") or (dict(last) if last else None)


def compute_age(timestamp: str, now: float) -> float:
    """Seconds from an RFC 3339 ``timestamp`` (whole seconds, UTC) to ``now``; 0 where it cannot be read."""
    try:
        return now - timestamps.parse_timestamp(timestamp)
    except ValueError:
        return 0.0
