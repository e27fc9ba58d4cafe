"""Readers of Pod objects as returned by the API, and the choice of the pod that runs a build.

The choice is by rendezvous (highest random weight) hashing, or at random. Each pod's weight is a hash of the key and
the pod's name; the heaviest pod wins. A key stays on its pod as long as that pod exists, a new pod takes its fair share
from all others, and clients need no shared state to agree. Builds that share pods also consider their load, see
:mod:`ci_buildx.builder.pool`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.model import timestamps
from ci_buildx.model.record import dataclass

Object = Mapping[str, Any]

CONTAINER = "buildkitd"
"""Name of buildkitd's container in a builder's pods; they may have other containers, too."""

CERTIFICATES_VOLUME = "certificates"
CONFIG_VOLUME = "config"
AUTHORITIES_VOLUME = "registry-certificates"
KEYS_VOLUME = "registry-keys"
OWN_VOLUMES = (CERTIFICATES_VOLUME, CONFIG_VOLUME, AUTHORITIES_VOLUME, KEYS_VOLUME)
"""Names of the volumes whose Secret and ConfigMap kube-builder creates."""


_EVICTED = "DisruptionTarget"
"""Condition of a pod that is preempted, evicted or deleted by a taint (kubernetes 1.34, ``pkg/apis/core/types.go``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """The facts about one pod that are needed to reach it.

    ``node`` is the builder's node (NodePlan.name), ``host`` the cluster node ("" until scheduled), ``ip`` is "" until
    known. ``running`` and ``ready`` describe buildkitd's container, regardless of other containers; ``terminating``
    includes a pod that is about to be evicted. ``created`` is RFC 3339 by the API server's clock.
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
    uid: str = ""


def read_pod(pod: Object) -> PodView:
    """Return the view of a Pod object."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    return PodView(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        node=(metadata.get("labels") or {}).get(NODE, ""),
        host=(pod.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        running=find_state(read_daemon_status(pod), "running") is not None,
        ready=is_ready(pod),
        terminating=is_terminating(pod) or find_condition(pod, _EVICTED).get("status") == "True",
        created=metadata.get("creationTimestamp") or "",
        uid=metadata.get("uid") or "",
    )


def describe_pod(pod: Object, *, gone: bool) -> str:
    """Describe a pod's state for the debug log; ``gone`` means that it is deleted."""
    seen, phase = read_pod(pod), (pod.get("status") or {}).get("phase", "")
    marks = (("running", seen.running), ("ready", seen.ready), ("terminating", seen.terminating), ("gone", gone))
    words = "".join(f", {word}" for word, holds in marks if holds)
    return f"pod {seen.name}: {phase} on {seen.host or 'no node'}, address {seen.ip or 'none'}{words}"


def is_terminating(pod: Object) -> bool:
    """Return whether the pod is being deleted or has ended."""
    return bool(pod["metadata"].get("deletionTimestamp")) or is_over(pod)


def is_over(pod: Object) -> bool:
    """Return whether the pod has ended: buildkitd ended and is not restarted, even if a sidecar still runs."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return True
    ended = find_state(read_daemon_status(pod), "terminated") is not None
    return ended and (pod.get("spec") or {}).get("restartPolicy") == "Never"


def is_ready(pod: Object) -> bool:
    """Return whether buildkitd's container is ready.

    The pod's condition Ready also requires every sidecar to be ready (kubernetes v1.34.2,
    ``pkg/kubelet/status/generate.go``).
    """
    return read_daemon_status(pod).get("ready") is True


def find_condition(manifest: Object, name: str) -> Object:
    """Return the condition ``name`` of a pod or Job, {} if it is missing."""
    for found in (manifest.get("status") or {}).get("conditions") or ():
        if found["type"] == name:
            return dict(found)
    return {}


def read_daemon_status(pod: Object) -> Object:
    """Return the status of buildkitd's container, {} until the kubelet has written it."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == CONTAINER:
            return dict(status)
    return {}


def list_sidecar_statuses(pod: Object) -> list[Object]:
    """Return the statuses of the other containers that start together with buildkitd's."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [status for status in statuses if status.get("name") != CONTAINER]


def list_blocking_statuses(pod: Object) -> list[Object]:
    """Return the statuses of the init containers that keep the others from starting.

    A native sidecar (``restartPolicy: Always``) stops blocking when it is ``started``; any other init container when it
    has ended with exit code 0.
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
    """Return the ``waiting``, ``running`` or ``terminated`` state of a container's status, None if it has another."""
    found = (status.get("state") or {}).get(kind)
    return None if found is None else dict(found)


def find_termination(status: Object) -> Object | None:
    """Return how a container ended, even if it was restarted since; None if it has not ended."""
    last = (status.get("lastState") or {}).get("terminated")
    return find_state(status, "terminated") or (dict(last) if last else None)


def describe_failure(pod: Object) -> str:
    """Return why a pod of any kind does not run or has failed, as Kubernetes reports it; "" if nothing is wrong."""
    scheduled, status = find_condition(pod, "PodScheduled"), pod.get("status") or {}
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', '')}: {scheduled.get('message', '')}"
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waits, ended = find_state(one, "waiting"), find_state(one, "terminated")
        if waits is not None and waits.get("reason") not in (None, *_USUAL_WAITS):
            return f"{waits['reason']}: {waits.get('message', '')}"
        if ended is not None and ended.get("exitCode") != 0:
            text = " ".join(str(ended.get("message", "")).split())
            return f"{ended.get('reason', 'Error')}: exit code {ended.get('exitCode')}" + (f": {text}" if text else "")
    return f"{status['reason']}: {status.get('message', '')}" if status.get("reason") else ""


_USUAL_WAITS = ("PodInitializing", "ContainerCreating")
"""Reasons of containers that are about to start (kubernetes v1.34.2, ``pkg/kubelet/kubelet_pods.go``)."""


def compute_age(timestamp: str, now: float) -> float:
    """Return seconds from an RFC 3339 ``timestamp`` (whole seconds, UTC) to ``now``; 0 if it is invalid."""
    try:
        return now - timestamps.parse_timestamp(timestamp)
    except ValueError:
        return 0.0


_JOINING = 15.0
"""Age in seconds up to which a pod that is not ready is waited for, so that concurrent builds see the same pods."""


def choose_pod(key: str, pods: Iterable[str]) -> str:
    """Return the name among ``pods`` on which ``key`` builds.

    Use as ``key`` what builds with a common cache share (a repository's path), not what differs between them (a
    commit). Raises ValueError if ``pods`` is empty.
    """
    return max(pods, key=lambda pod: (_compute_weight(key, pod), pod))


def rank_pods(key: str, pods: Iterable[str]) -> list[str]:
    """Return the names in the order in which ``key`` prefers them; :func:`choose_pod` returns the first."""
    return sorted(pods, key=lambda pod: (_compute_weight(key, pod), pod), reverse=True)


def select_electable(pods: Sequence[PodView], now: float, *, enough: int | None = None) -> tuple[PodView, ...]:
    """Return a lasting builder's pods to choose from, sorted by name; empty while more pods are worth waiting for.

    The result holds ready pods that are not terminating. A single remaining pod only has to be scheduled, because there
    is no choice to make. Pods that are not ready and only a few seconds old are waited for, unless ``enough`` are
    ready. ``now`` is the cluster's clock in epoch seconds.
    """
    staying = [pod for pod in pods if not pod.terminating]
    if len(staying) == 1:
        return tuple(pod for pod in staying if pod.host)
    ready = sorted((pod for pod in staying if pod.ready), key=lambda pod: pod.name)
    if enough is not None and ready and len(ready) >= enough:
        return tuple(ready)
    joining = any(not pod.ready and compute_age(pod.created, now) < _JOINING for pod in staying)
    return () if joining else tuple(ready)


def list_choices(pods: Sequence[PodView], cordoned: Collection[str] = ()) -> tuple[PodView, ...]:
    """Return the pods that a build may be placed in now: ready, staying, and not on a ``cordoned`` cluster node.

    A single remaining pod only has to be scheduled, because there is no choice to make.
    """
    staying = [pod for pod in pods if not pod.terminating]
    if len(staying) == 1:
        return tuple(pod for pod in staying if pod.host)
    return tuple(pod for pod in staying if pod.ready and pod.host not in cordoned)


def explain_choice(chosen: PodView, pods: Sequence[PodView], why: str, cordoned: Collection[str] = ()) -> str:
    """Return one log line about a choice: the chosen pod, the number of ready pods, the reason, the pods left out."""
    ready = sum(pod.ready and not pod.terminating for pod in pods)
    out = [
        f"{pod.name} {_explain_omission(pod)}"
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.terminating or not pod.ready or (pod.host in cordoned and pod.name != chosen.name)
    ]
    left = f"; skipped: {', '.join(out)}" if out else ""
    return f"pod {chosen.name}, one of {ready} ready, is chosen {why}{left}"


def _explain_omission(pod: PodView) -> str:
    if pod.terminating:
        return "is terminating"
    return f"is on cordoned node {pod.host}" if pod.ready else "is not ready"


def _compute_weight(key: str, pod: str) -> bytes:
    # A git context may contain bytes that are not valid text.
    return hashlib.blake2b(f"{len(key)}:{key}{pod}".encode(errors="surrogateescape"), digest_size=16).digest()
