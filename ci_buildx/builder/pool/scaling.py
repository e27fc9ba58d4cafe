"""The number of an elastic node's pods: builds that wait add pods, later builds and the reaper remove idle ones.

No process has to run for this. Every change of a workload names the resourceVersion that it changes, so of several
builds that add the same pod one succeeds. A pod is removed only by a build that has claimed all of its slots, so no
other build can be placed in it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ci_buildx.builder.builder import Workload
from ci_buildx.builder.pods import PodView, compute_age
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import LeaseRole, PoolNode, PoolView, make_slot, make_slot_name
from ci_buildx.builder.pool.placement import read_ordinal
from ci_buildx.errors import Conflict
from ci_buildx.kube.client import KubeClient, amend_object
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import ReplicaRange

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation by which a ReplicaSet chooses the pods to delete, the cheapest first (kubernetes 1.34,
``pkg/controller/replicaset``)."""
_CHEAPEST = "-1000"
_KEY = "scale-down"
_LOG = debug.get_log("builder")


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticNode:
    """A node whose number of pods follows its builds. ``path`` is its workload's; ``most`` builds fit into a pod."""

    node: PoolNode
    kind: Workload
    path: str
    scaling: ReplicaRange
    most: int


def compute_wanted_pods(scaling: ReplicaRange, builds: int, most: int) -> int:
    """Return how many pods ``builds`` running and waiting builds need, within the range."""
    return max(scaling.least, min(scaling.most, -(-builds // most)))


def add_pods(kube: KubeClient, elastic: ElasticNode, builds: int) -> int:
    """Scale the workload up if ``builds`` running and waiting builds need more pods; return the number of pods added.

    Returns 0 if there are enough, because another build has added them at this moment, for example. Raises KubeError.
    """
    wanted = compute_wanted_pods(elastic.scaling, builds, elastic.most)
    added = 0

    def change(found: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal added
        added = max(wanted - _read_replicas(found), 0)
        return {"spec": {"replicas": wanted}} if added else None

    amend_object(kube, elastic.path, change)
    return added


def compute_idle_time(pod: PodView, view: PoolView, now: float) -> float:
    """Return for how many seconds no build has used a pod; 0 while one does.

    A slot that was given up shows when, and a pod without any was not used since its creation.
    """
    slots = [one for one in view.leases.values() if one.role is LeaseRole.SLOT and one.owner == pod.uid]
    if any(one.is_held(now) for one in slots):
        return 0.0
    return min([compute_age(pod.created, now), *(now - one.renewed for one in slots)])


def select_removable(
    elastic: ElasticNode, pods: Sequence[PodView], view: PoolView, now: float, *, replicas: int
) -> list[PodView]:
    """Return the idle pods that may be removed, as many as exceed the minimum; none while builds wait.

    Of a Deployment these are the pods that have been idle longest; of a StatefulSet those with the highest numbers,
    because it always removes these.
    """
    staying = [pod for pod in pods if not pod.terminating]
    surplus = min(replicas, len(staying)) - elastic.scaling.least
    if surplus <= 0 or view.list_queue(now) or len(staying) != len(pods):
        return []
    idle = {pod.name: compute_idle_time(pod, view, now) for pod in staying}
    if elastic.kind is Workload.STATEFUL_SET:
        ordered = sorted(staying, key=lambda pod: read_ordinal(pod.name), reverse=True)[:surplus]
        busy = next((number for number, pod in enumerate(ordered) if idle[pod.name] < elastic.scaling.idle), surplus)
        return ordered[:busy]
    ordered = sorted(staying, key=lambda pod: (-idle[pod.name], pod.name))
    return [pod for pod in ordered if idle[pod.name] >= elastic.scaling.idle][:surplus]


def remove_idle_pods(
    kube: KubeClient, elastic: ElasticNode, keeper: LeaseKeeper, pods: Sequence[PodView], view: PoolView
) -> tuple[str, ...]:
    """Scale the workload down by its idle pods; return the names of the pods that go. Raises KubeError.

    ``keeper`` holds their slots until they are gone. If a build is placed in one of them first, that pod stays.
    """
    found = kube.get(elastic.path)
    replicas, now = _read_replicas(found), keeper.clock.read()
    removable = select_removable(elastic, pods, view, now, replicas=replicas)
    closed: list[PodView] = []
    for pod in removable:
        if _close_pod(elastic, keeper, pod, view):
            closed.append(pod)
        elif elastic.kind is Workload.STATEFUL_SET:
            break  # it removes the highest numbers only
    removed = False
    try:
        removed = bool(closed) and _scale_down(kube, elastic, found, closed)
    finally:
        if not removed:
            keeper.close()
    return tuple(pod.name for pod in closed) if removed else ()


def _scale_down(kube: KubeClient, elastic: ElasticNode, found: dict[str, Any], closed: Sequence[PodView]) -> bool:
    """Scale the workload down by the pods in ``closed``; return False if it has changed since it was read."""
    if elastic.kind is Workload.DEPLOYMENT:
        for pod in closed:
            path = f"{elastic.node.location.make_core_path('pods')}/{pod.name}"
            kube.patch(path, {"metadata": {"annotations": {DELETION_COST: _CHEAPEST}}})
    _LOG.debug("idle pods are removed: %s", ", ".join(pod.name for pod in closed))
    return _set_replicas(kube, elastic, found, _read_replicas(found) - len(closed))


def _close_pod(elastic: ElasticNode, keeper: LeaseKeeper, pod: PodView, view: PoolView) -> bool:
    """Claim all slots of a pod, so that no build is placed in it; give them up and return False if one is taken."""
    claimed: list[str] = []
    for number in range(elastic.most):
        name = make_slot_name(pod, number)
        wanted = make_slot(elastic.node, pod, number, holder=keeper.holder, key=_KEY, renewed=keeper.clock.format())
        if keeper.claim(elastic.node, wanted, view.leases.get(name), lost=_ignore_loss) is None:
            for one in claimed:
                keeper.release(one)
            return False
        claimed.append(name)
    return True


def _ignore_loss() -> None:
    """Do nothing: the pod and its slots are gone."""


def _read_replicas(workload: dict[str, Any]) -> int:
    return int((workload.get("spec") or {}).get("replicas", 1))


def _set_replicas(kube: KubeClient, elastic: ElasticNode, found: dict[str, Any], replicas: int) -> bool:
    """Set the number of pods unless the workload has changed since it was read; return whether it was set."""
    change = {
        "metadata": {"resourceVersion": found["metadata"].get("resourceVersion", "")},
        "spec": {"replicas": replicas},
    }
    try:
        kube.patch(elastic.path, change)
    except Conflict:
        return False
    return True
