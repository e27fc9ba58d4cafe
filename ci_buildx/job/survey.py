"""What the cluster and each buildkitd say of builders: each replica once, and as itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any, TypeVar

from ci_buildx.builder import store
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.diagnose import judge
from ci_buildx.builder.labels import NODE
from ci_buildx.builder.pods import PodView, is_over, view
from ci_buildx.builder.store import Node, Record
from ci_buildx.builder.verdict import Case
from ci_buildx.buildkit.messages import Worker
from ci_buildx.errors import Forbidden, KubeBuilderError
from ci_buildx.job.dial import ANSWER_TIME, Ways
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace

T = TypeVar("T")

_AT_ONCE = 16


class Status(StrEnum):
    """How a pod, or a node without pods, is; the words are buildx's (0.38.2, ``driver/driver.go``)."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One pod of a node; ``pod`` is None for a node that has none. ``workers`` are what its buildkitd answered."""

    node: Node
    pod: PodView | None
    status: Status
    workers: tuple[Worker, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """The pod's name, or the node's."""
        return self.pod.name if self.pod else self.node.name

    @property
    def version(self) -> str:
        """buildkitd's version, "" if it was not asked."""
        return self.workers[0].version if self.workers else ""

    @property
    def runs(self) -> tuple[Platform, ...]:
        """What it runs, each platform once: as it says now, else as it said earlier."""
        said = tuple(dict.fromkeys(platform for worker in self.workers for platform in worker.platforms))
        return said or self.node.plan.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A builder and its seats; ``error`` says why it cannot be looked at, or, where there are seats, not be asked."""

    record: Record
    seats: tuple[Seat, ...] = ()
    error: str = ""


def survey(kube: KubeClient, records: Sequence[Record], *, timeout: float | None) -> list[Surveyed]:
    """Look at all builders at once; each running pod's buildkitd is asked, and what is late says so.

    With None as ``timeout`` no buildkitd is asked.
    """
    deadline = None if timeout is None else time.monotonic() + timeout

    def look(record: Record) -> Surveyed:
        try:
            return _look(kube, record, deadline)
        except KubeBuilderError as failure:
            return Surveyed(record=record, error=str(failure))

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(look, records))


def running(kube: KubeClient, record: Record) -> list[tuple[Node, PodView]]:
    """The pods of a builder that can be asked, by node and name."""
    return [(seat.node, seat.pod) for seat in _seats(kube, record) if seat.status is Status.RUNNING and seat.pod]


def at_once(works: Sequence[Callable[[], T]]) -> Iterator[T]:
    """What each piece of work gives, in their order; all are at work at once."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        yield from pool.map(lambda work: work(), works)


def ways(kube: KubeClient, builder: Builder, node: Node) -> Ways:
    """How the pods of a node are reached."""
    return Ways(kube=kube, keys=builder.keys, known=builder.transports.get(node.name, ""))


def _look(kube: KubeClient, record: Record, deadline: float | None) -> Surveyed:
    seats = _seats(kube, record)
    if deadline is None or not any(seat.status is Status.RUNNING for seat in seats):
        return Surveyed(record=record, seats=tuple(seats))
    try:
        builder = store.load(kube, record)
    except Forbidden as failure:
        # Who sees all namespaces need not hold the keys to the builders in them.
        return Surveyed(record=record, seats=tuple(seats), error=str(failure))

    def asked(seat: Seat) -> Seat:
        return _asked(ways(kube, builder, seat.node), seat, deadline) if seat.status is Status.RUNNING else seat

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return Surveyed(record=record, seats=tuple(pool.map(asked, seats)))


def _asked(way: Ways, seat: Seat, deadline: float) -> Seat:
    assert seat.pod is not None
    try:
        workers = way.ask(seat.pod, deadline, lambda control: control.workers(ANSWER_TIME))
    except KubeBuilderError as failure:
        return replace(seat, status=Status.ERROR, error=str(failure))
    return replace(seat, workers=tuple(workers))


def _seats(kube: KubeClient, record: Record) -> list[Seat]:
    """The pods by node and name; those that have come to their end are no seats: others are in their place."""
    listed = kube.list(record.location.core_path("pods"), labelSelector=record.location.selector)["items"]
    pods: dict[str, list[Mapping[str, Any]]] = {}
    for pod in sorted(listed, key=lambda one: str(one["metadata"]["name"])):
        if not is_over(pod):
            pods.setdefault(pod["metadata"]["labels"].get(NODE, ""), []).append(pod)
    return [seat for node in record.nodes for seat in _of_node(node, pods.get(node.name, ()))]


def _of_node(node: Node, pods: Sequence[Mapping[str, Any]]) -> list[Seat]:
    if pods:
        return [_seat(node, pod) for pod in pods]
    if node.stopped:
        return [Seat(node=node, pod=None, status=Status.STOPPED)]
    status = Status.ERROR if node.problem else Status.STARTING
    return [Seat(node=node, pod=None, status=status, error=node.problem)]


def _seat(node: Node, pod: Mapping[str, Any]) -> Seat:
    seen = view(pod)
    if seen.terminating:
        return Seat(node=node, pod=seen, status=Status.STOPPING)
    if seen.ready:
        return Seat(node=node, pod=seen, status=Status.RUNNING)
    failure = judge(Case(workload=node.name, pod=pod)).error
    if failure is None:
        return Seat(node=node, pod=seen, status=Status.STARTING)
    return Seat(node=node, pod=seen, status=Status.ERROR, error=str(failure))
