"""The load of a builder: what runs and waits, and how well its caches serve, as `kube-builder top` shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ci_buildx.build.context import origin
from ci_buildx.builder import labels
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import records as lifecycle_records
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.pool.keeper import ServerClock
from ci_buildx.builder.pool.leases import PoolNode, PoolView, read_leases
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.history import HistoryRequest
from ci_buildx.buildkit.messages import DiskUsageRequest
from ci_buildx.errors import Forbidden, KubeBuilderError
from ci_buildx.history.records import MOST_RECORDS, PlacedRecord, read_listing
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage.survey import ANSWER_TIME, ReplicaStatus, ReplicaView, list_replicas, make_dialer, run_at_once
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model import timestamps
from ci_buildx.model.record import dataclass, replace

_USAGE_TIME = 60.0
"""Seconds for a buildkitd to compute its disk usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodActivity:
    """One pod, or a node without pods.

    ``running`` are its builds, ``taken`` of its ``slots`` (0: unbounded) are held, None if the Leases cannot be read.
    ``cache`` is in bytes. ``steps`` and ``cached`` count those of its last ``builds``. ``error`` shows why it was not
    asked.
    """

    node: str
    pod: str
    status: ReplicaStatus
    running: tuple[PlacedRecord, ...] = ()
    taken: int | None = None
    slots: int = 0
    cache: int = 0
    builds: int = 0
    steps: int = 0
    cached: int = 0
    error: str = ""

    @property
    def hit_rate(self) -> float | None:
        """Share of cached steps, from 0 to 1; None without steps."""
        return self.cached / self.steps if self.steps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingBuild:
    """A build in the queue of a node: its place from 1, its sticky key, and how long it has waited (s)."""

    node: str
    place: int
    key: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderLoad:
    """The pods and the queue of a builder; ``notes`` say what could not be read."""

    name: str
    namespace: str
    pods: tuple[PodActivity, ...]
    queue: tuple[WaitingBuild, ...] = ()
    notes: tuple[str, ...] = ()


def read_load(target: BuilderTarget, *, env: Mapping[str, str], timeout: float) -> BuilderLoad:
    """Return the load of a builder. ``timeout`` (s) bounds connecting to each pod.

    A pod that does not answer has an error. Raises InputError for a builder of another trust scope, KubeError.
    """
    with make_kube_client(target.cluster, env=env) as kube:
        record = lifecycle_records.find_builder(kube, target.name, target.namespace)
        builder = lifecycle_records.load_builder(kube, record)
        origin.check_trust(builder, env)
        deadline = time.monotonic() + timeout
        seats = list_replicas(kube, record)
        pods = list(run_at_once([partial(_read_pod, kube, builder, seat, deadline) for seat in seats]))
        return _add_leases(kube, record, builder, seats, pods)


def _read_pod(kube: KubeClient, builder: Builder, seat: ReplicaView, deadline: float) -> PodActivity:
    node = seat.node
    found = PodActivity(
        node=node.name,
        pod=seat.pod.name if seat.pod else "",
        status=seat.status,
        slots=node.plan.max_builds,
        error=seat.error,
    )
    if seat.pod is None or seat.status is not ReplicaStatus.RUNNING:
        return found

    def ask(control: Control) -> PodActivity:
        listing = control.open_history().list_records(HistoryRequest(limit=MOST_RECORDS), ANSWER_TIME)
        records = read_listing(listing, builder=builder.name, node=node.name, pod=found.pod)
        done = [one.record for one in records if one.completed is not None]
        usage = control.read_disk_usage(DiskUsageRequest(), _USAGE_TIME)
        return replace(
            found,
            running=tuple(one for one in records if one.completed is None),
            cache=sum(one.size for one in usage),
            builds=len(done),
            steps=sum(one.total_steps for one in done),
            cached=sum(one.cached_steps for one in done),
        )

    try:
        return make_dialer(kube, builder, node).ask(seat.pod, deadline, ask)
    except KubeBuilderError as failure:
        return replace(found, error=str(failure))


def _add_leases(
    kube: KubeClient, record: StoredBuilder, builder: Builder, seats: Sequence[ReplicaView], pods: Sequence[PodActivity]
) -> BuilderLoad:
    """Return the load with the slots that are held and the builds that wait."""
    load = BuilderLoad(name=record.name, namespace=record.location.namespace, pods=tuple(pods))
    if not any(node.plan.pooled for node in record.nodes):
        return load
    clock = ServerClock(kube)
    queue: list[WaitingBuild] = []
    taken: dict[str, int] = {}
    for node in record.nodes:
        place = PoolNode(location=record.location, name=node.name, owner=builder.owner)
        try:
            listed = kube.list(place.path, labelSelector=place.selector)["items"]
        except Forbidden as failure:
            return replace(load, notes=(f"slots and queue are unknown: {failure}",))
        now, view = clock.read(), read_leases(listed)
        queue += _list_waiting(node, view, listed, now)
        for seat in seats:
            if seat.node.name == node.name and seat.pod is not None:
                taken[seat.pod.name] = len(view.list_held(seat.pod, now))
    counted = tuple(replace(one, taken=taken.get(one.pod)) for one in pods)
    return replace(load, pods=counted, queue=tuple(queue))


def _list_waiting(
    node: StoredNode, view: PoolView, listed: Sequence[Mapping[str, Any]], now: float
) -> list[WaitingBuild]:
    keys = {one["metadata"]["name"]: (one["metadata"].get("annotations") or {}).get(labels.KEY, "") for one in listed}
    return [
        WaitingBuild(node=node.name, place=place, key=keys.get(one.name, ""), seconds=_measure_wait(one.created, now))
        for place, one in enumerate(view.list_queue(now), 1)
    ]


def _measure_wait(created: str, now: float) -> float:
    try:
        return max(0.0, now - timestamps.parse_timestamp(created))
    except ValueError:
        return 0.0
