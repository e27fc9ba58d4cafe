"""The state of builders and their build caches, as reported by the cluster and by each buildkitd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from ci_buildx.build.dialer import PodDialer
from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.builder.boot.observation import PodCase
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.labels import NODE
from ci_buildx.builder.lifecycle import records as lifecycle_records
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.pods import PodView, is_over, read_pod
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.messages import DiskUsageRequest, PruneRequest, UsageRecord, Worker
from ci_buildx.errors import Forbidden, InputError, KubeBuilderError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field, replace

T = TypeVar("T")

ANSWER_TIME = 20.0
"""Seconds for one answer; a history of thousands of records is read from the disk."""
_AT_ONCE = 16


class ReplicaStatus(StrEnum):
    """State of a pod, or of a node without pods; the words are buildx's (0.38.2, ``driver/driver.go``)."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One pod of a node; ``pod`` is None for a node without pods. ``workers`` are those that its buildkitd reported."""

    node: StoredNode
    pod: PodView | None
    status: ReplicaStatus
    workers: tuple[Worker, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """The pod's name, or the node's."""
        return self.pod.name if self.pod else self.node.name

    @property
    def version(self) -> str:
        """buildkitd's version, "" if it was not queried."""
        return self.workers[0].version if self.workers else ""

    @property
    def runs(self) -> tuple[Platform, ...]:
        """The platforms it runs, without duplicates: as reported now, else as recorded earlier."""
        said = tuple(dict.fromkeys(platform for worker in self.workers for platform in worker.platforms))
        return said or self.node.plan.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderView:
    """A builder and its replicas.

    ``error`` is the reason why the builder cannot be read or, if ``seats`` is not empty, why its pods cannot be
    queried. ``files`` are the texts of each node's configuration, by node and name, if they were read.
    """

    record: StoredBuilder
    seats: tuple[ReplicaView, ...] = ()
    error: str = ""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def survey_builders(kube: KubeClient, records: Sequence[StoredBuilder], *, timeout: float | None) -> list[BuilderView]:
    """Return the state of all builders, concurrently; each running pod's buildkitd is queried.

    A pod that does not answer within ``timeout`` seconds has an error. If ``timeout`` is None, no buildkitd is queried.
    """
    deadline = None if timeout is None else time.monotonic() + timeout

    def look(record: StoredBuilder) -> BuilderView:
        try:
            return _view_builder(kube, record, deadline)
        except KubeBuilderError as failure:
            return BuilderView(record=record, error=str(failure))

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(look, records))


def list_running_pods(kube: KubeClient, record: StoredBuilder) -> list[tuple[StoredNode, PodView]]:
    """Return the running pods of a builder with their nodes, ordered by node and name."""
    return [
        (seat.node, seat.pod)
        for seat in list_replicas(kube, record)
        if seat.status is ReplicaStatus.RUNNING and seat.pod
    ]


def run_at_once(works: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Run all functions concurrently and yield their results in order."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        yield from pool.map(lambda work: work(), works)


def make_dialer(kube: KubeClient, builder: Builder, node: StoredNode) -> PodDialer:
    """Return the dialer for the pods of a node."""
    return PodDialer(kube=kube, keys=builder.keys, known=builder.transports.get(node.name, ""))


def _view_builder(kube: KubeClient, record: StoredBuilder, deadline: float | None) -> BuilderView:
    seats = list_replicas(kube, record)
    if deadline is None or not any(seat.status is ReplicaStatus.RUNNING for seat in seats):
        return BuilderView(record=record, seats=tuple(seats))
    try:
        builder = lifecycle_records.load_builder(kube, record)
    except Forbidden as failure:
        # A user who may list all namespaces need not have the rights to read the builders' keys.
        return BuilderView(record=record, seats=tuple(seats), error=str(failure))

    def ask_running(seat: ReplicaView) -> ReplicaView:
        return (
            _ask_replica(make_dialer(kube, builder, seat.node), seat, deadline)
            if seat.status is ReplicaStatus.RUNNING
            else seat
        )

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return BuilderView(record=record, seats=tuple(pool.map(ask_running, seats)))


def _ask_replica(way: PodDialer, seat: ReplicaView, deadline: float) -> ReplicaView:
    assert seat.pod is not None
    try:
        workers = way.ask(seat.pod, deadline, lambda control: control.list_workers(ANSWER_TIME))
    except KubeBuilderError as failure:
        return replace(seat, status=ReplicaStatus.ERROR, error=str(failure))
    return replace(seat, workers=tuple(workers))


def list_replicas(kube: KubeClient, record: StoredBuilder) -> list[ReplicaView]:
    """Return the pods by node and name; ended pods are skipped, since others replace them."""
    listed = kube.list(record.location.make_core_path("pods"), labelSelector=record.location.selector)["items"]
    pods: dict[str, list[Mapping[str, Any]]] = {}
    for pod in sorted(listed, key=lambda one: str(one["metadata"]["name"])):
        if not is_over(pod):
            pods.setdefault(pod["metadata"].get("labels", {}).get(NODE, ""), []).append(pod)
    return [seat for node in record.nodes for seat in _view_node(node, pods.get(node.name, ()))]


def _view_node(node: StoredNode, pods: Sequence[Mapping[str, Any]]) -> list[ReplicaView]:
    if pods:
        return [_view_replica(node, pod) for pod in pods]
    if node.stopped:
        return [ReplicaView(node=node, pod=None, status=ReplicaStatus.STOPPED)]
    status = ReplicaStatus.ERROR if node.problem else ReplicaStatus.STARTING
    return [ReplicaView(node=node, pod=None, status=status, error=node.problem)]


def _view_replica(node: StoredNode, pod: Mapping[str, Any]) -> ReplicaView:
    seen = read_pod(pod)
    if seen.terminating:
        return ReplicaView(node=node, pod=seen, status=ReplicaStatus.STOPPING)
    if seen.ready:
        return ReplicaView(node=node, pod=seen, status=ReplicaStatus.RUNNING)
    failure = diagnose(PodCase(workload=node.name, pod=pod)).error
    if failure is None:
        return ReplicaView(node=node, pod=seen, status=ReplicaStatus.STARTING)
    return ReplicaView(node=node, pod=seen, status=ReplicaStatus.ERROR, error=str(failure))


_LOOK_TIME = 60.0
"""Seconds for a buildkitd to compute its disk usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """One record in the cache of one pod."""

    pod: str
    record: UsageRecord


def read_usage(
    target: BuilderTarget, filters: tuple[str, ...], *, env: Mapping[str, str], timeout: float
) -> list[CacheUsage]:
    """Return the cache records of all running pods of a builder.

    ``timeout`` (s) bounds connecting to each pod. Raises InputError if no pod runs, TransportError, BuildkitError.
    """
    request = DiskUsageRequest(filters)
    with _list_running(target, env) as pods:

        def ask(pod: PodView, way: PodDialer) -> list[CacheUsage]:
            found = way.ask(
                pod, time.monotonic() + timeout, lambda control: control.read_disk_usage(request, _LOOK_TIME)
            )
            return [CacheUsage(pod=pod.name, record=record) for record in found]

        return [one for part in run_at_once([partial(ask, *pair) for pair in pods]) for one in part]


def prune_caches(
    target: BuilderTarget,
    request: PruneRequest,
    *,
    env: Mapping[str, str],
    timeout: float,
    tell: Callable[[CacheUsage], None],
) -> None:
    """Prune the caches of all running pods of a builder.

    ``tell`` is called with each record as it is deleted, from several threads. ``timeout`` (s) bounds connecting to
    each pod. Raises InputError if no pod runs, TransportError, BuildkitError.
    """
    with _list_running(target, env) as pods:

        def clear(pod: PodView, way: PodDialer) -> None:
            def work(control: Control) -> None:
                for record in control.prune(request):
                    tell(CacheUsage(pod=pod.name, record=record))

            way.ask(pod, time.monotonic() + timeout, work)

        list(run_at_once([partial(clear, *pair) for pair in pods]))


@contextmanager
def _list_running(target: BuilderTarget, env: Mapping[str, str]) -> Iterator[list[tuple[PodView, PodDialer]]]:
    with make_kube_client(target.cluster, env=env) as kube:
        record = lifecycle_records.find_builder(kube, target.name, target.namespace)
        pods: list[tuple[StoredNode, PodView]] = list_running_pods(kube, record)
        if not pods:
            fix = f"start it with kube-builder inspect --bootstrap {record.name}"
            raise InputError(f"no pod of builder {record.name!r} is running", fix=fix)
        builder = lifecycle_records.load_builder(kube, record)
        yield [(pod, make_dialer(kube, builder, node)) for node, pod in pods]
