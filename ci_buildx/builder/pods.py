"""Reading a Pod object as the API gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.model import moment
from ci_buildx.model.record import dataclass

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """What matters about one pod for reaching it.

    ``node`` is the builder's node (NodePlan.name), ``host`` the cluster's ("" until scheduled), ``ip`` "" until known.
    ``running`` says that its container has started; ``created`` is RFC 3339 by the API server's clock.
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


def view(pod: Object) -> PodView:
    """The view of a Pod object."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    return PodView(
        name=metadata["name"],
        namespace=metadata["namespace"],
        node=(metadata.get("labels") or {}).get(NODE, ""),
        host=(pod.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        running=bool(container_states(pod, "running")),
        ready=condition(pod, "Ready").get("status") == "True",
        terminating=is_terminating(pod),
        created=metadata.get("creationTimestamp") or "",
    )


def is_terminating(pod: Object) -> bool:
    """Whether it is being deleted or has come to its end."""
    return bool(pod["metadata"].get("deletionTimestamp")) or is_over(pod)


def is_over(pod: Object) -> bool:
    """Whether it has come to its end: nothing of it runs."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def condition(manifest: Object, name: str) -> Object:
    """The condition called ``name`` of a pod or Job, empty if it has none."""
    for found in (manifest.get("status") or {}).get("conditions") or ():
        if found["type"] == name:
            return dict(found)
    return {}


def container_states(pod: Object, kind: str) -> list[Object]:
    """The states of the kind ``waiting``, ``running`` or ``terminated`` of its containers, init containers first.

    Of init containers only what keeps the others from starting: one that runs or has done its part says nothing.
    """
    status = pod.get("status") or {}
    initial = [(container.get("state") or {}).get(kind) for container in status.get("initContainerStatuses") or ()]
    others = [(container.get("state") or {}).get(kind) for container in status.get("containerStatuses") or ()]
    stuck = [state for state in initial if state is not None and kind != "running" and state.get("exitCode") != 0]
    return [*stuck, *(state for state in others if state is not None)]


def last_termination(pod: Object) -> Object | None:
    """How a container ended that is restarted or was: None if none has ended."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("lastState") or {}).get("terminated")
        if ended:
            return dict(ended)
    return None


def age(timestamp: str, now: float) -> float:
    """Seconds from an RFC 3339 ``timestamp`` (whole seconds, UTC) to ``now``; 0 where it cannot be read."""
    try:
        return now - moment.of_timestamp(timestamp)
    except ValueError:
        return 0.0
