"""The queue of a node whose slots are all taken: tickets in the order of their creation by the API server.

Every waiting build follows the Leases by one watch and computes its own place, so no process has to manage the queue.
A build may claim a slot if more slots are free than builds wait before it; so a slot that becomes free wakes one build.
A build that ends deletes its ticket; that of a killed one soon no longer counts.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from ci_buildx.builder.pool import scaling
from ci_buildx.builder.pool.leases import PoolLease, PoolNode, PoolView, make_ticket, read_lease
from ci_buildx.builder.pool.placement import count_free_slots
from ci_buildx.builder.pool.pool import PodPool, PodSlot
from ci_buildx.errors import Forbidden, KubeError, QueueTimeout, Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.watch import ChangeKind
from ci_buildx.model import debug
from ci_buildx.model.record import replace

_TICK = 0.25
"""Seconds between two checks of conditions that depend on time alone; they make no call."""
_JITTER = 0.1
"""Longest delay in seconds of a build that claims one of several slots that became free."""
_GROWTH = 5.0
"""Seconds between two looks at an elastic node's number of pods; a build waits as long for each one in front of it."""
_LONGEST_WATCH = 7 * 86400.0
_FIX = "raise --queue-timeout, driver-opt max-builds or the number of replicas"
_LOG = debug.get_log("builder")


class PoolWatch:
    """Context manager that follows the Leases of a node by one watch."""

    def __init__(self, kube: KubeClient, node: PoolNode) -> None:
        self._kube = kube
        self._node = node
        self._view = PoolView()
        self._changed = threading.Condition()
        self._changes = 0
        self._seen = 0
        self._end = threading.Event()
        self._listed = threading.Event()
        self._broken: KubeError | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._follow, daemon=True, name="queue").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def read(self) -> PoolView | None:
        """Return the current Leases, None before they have been listed. Raises KubeError if the watch has failed."""
        with self._changed:
            self._seen = self._changes
            if self._broken is not None:
                raise self._broken
            return self._view if self._listed.is_set() else None

    def wait(self, seconds: float) -> None:
        """Wait until something has changed since the last :meth:`read`, at most ``seconds``."""
        with self._changed:
            if self._changes == self._seen:
                self._changed.wait(seconds)

    def _follow(self) -> None:
        try:
            for event in self._kube.watch(
                self._node.path,
                deadline=time.monotonic() + _LONGEST_WATCH,
                stop=self._end,
                listed=self._listed,
                labelSelector=self._node.selector,
            ):
                lease = read_lease(event.object)
                with self._changed:
                    if lease is not None:
                        self._view = self._view.change(lease, gone=event.type is ChangeKind.DELETED)
                    self._changes += 1
                    self._changed.notify_all()
        except KubeError as failure:
            with self._changed:
                self._broken = failure
                self._changes += 1
                self._changed.notify_all()


class SlotQueue:
    """One build in the queue."""

    def __init__(self, kube: KubeClient, pool: PodPool) -> None:
        self._kube = kube
        self._pool = pool
        self._request = pool.request
        self._lost = threading.Event()
        self._told = ""
        self._next_growth = 0.0

    def wait(self) -> PodSlot:
        """Wait for a slot, claim it and return it. Raises QueueTimeout, Stopped, KubeError."""
        began = time.monotonic()
        if self._request.timeout <= 0:
            raise self._make_timeout(self._pool.list_leases(), None)
        ticket = self._take_ticket()
        try:
            with PoolWatch(self._kube, self._request.node) as watch:
                while True:
                    if self._lost.is_set():
                        ticket = self._take_ticket()
                    slot = self._look(watch, ticket, began)
                    if slot is not None:
                        waited = time.monotonic() - began
                        self._request.explain(f"got a slot after {waited:.0f} s in the queue")
                        return replace(slot, waited=waited)
                    watch.wait(_TICK)
        finally:
            self._pool.keeper.release(ticket.name)

    def _look(self, watch: PoolWatch, ticket: PoolLease, began: float) -> PodSlot | None:
        """Claim a slot if it is this build's turn; otherwise report its place."""
        if self._request.stop.is_set():
            raise Stopped
        view = watch.read()
        if view is None:
            return None
        place = self._find_place(view, ticket)
        if self._pool.has_turn(view, place):
            if place and self._request.stop.wait(self._pool.draw.uniform(0.0, _JITTER)):
                raise Stopped
            slot = self._pool.claim(watch.read() or view)
            if slot is None:
                # The watch is about to report the winner's slot.
                self._pool.pause(0)
            return slot
        if time.monotonic() - began >= self._request.timeout:
            raise self._make_timeout(view, ticket)
        self._tell(view, place)
        self._add_pods(view, place, began)
        return None

    def _take_ticket(self) -> PoolLease:
        self._lost.clear()
        keeper, request = self._pool.keeper, self._request
        wanted = make_ticket(request.node, holder=keeper.holder, key=request.rule.key, renewed=keeper.clock.format())
        ticket = keeper.claim(request.node, wanted, lost=self._lost.set)
        if ticket is None:
            raise KubeError(f"ticket {wanted['metadata']['name']} belongs to another build")
        _LOG.debug("ticket %s has number %s", ticket.name, ticket.number)
        return ticket

    def _find_place(self, view: PoolView, ticket: PoolLease) -> int:
        """Return the number of builds that wait before this one."""
        queue = view.list_queue(self._pool.keeper.clock.read())
        return sum(one.place < ticket.place for one in queue)

    def _add_pods(self, view: PoolView, place: int, began: float) -> None:
        """Add pods to an elastic node; a later build only does so if those before it have not.

        A build that comes to the front of the queue looks at once: in a queue that moves, no build waits for long, but
        all of them together need more pods.
        """
        elastic, now = self._request.elastic, time.monotonic()
        if elastic is None or now < max(self._next_growth, began + place * _GROWTH):
            return
        self._next_growth = now + _GROWTH
        loads = self._pool.list_loads(view)
        if len(loads) >= elastic.scaling.most:
            return
        waiting = len(view.list_queue(self._pool.keeper.clock.read()))
        try:
            added = scaling.add_pods(self._kube, elastic, sum(one.builds for one in loads) + waiting)
        except Forbidden as failure:
            self._next_growth = float("inf")
            self._request.warn(f"no pods are added: {failure}")
            return
        if added:
            pods = "1 pod" if added == 1 else f"{added} pods"
            self._request.explain(f"adding {pods}: {waiting} waiting, at most {elastic.scaling.most} pods")

    def _tell(self, view: PoolView, place: int) -> None:
        """Report the place in the queue, whenever it has changed."""
        length = max(len(view.list_queue(self._pool.keeper.clock.read())), place + 1)
        text = f"waiting for a slot: place {place + 1}"
        if self._told != text:
            self._told = text
            self._request.explain(f"{text} of {length} in the queue; {self._describe_slots(view)}")

    def _describe_slots(self, view: PoolView) -> str:
        loads, most = self._pool.list_loads(view), self._request.rule.most
        if not loads:
            return "no pod is ready and on a cluster node that is not cordoned"
        taken = sum(one.builds for one in loads)
        if count_free_slots(loads, most):
            return f"{taken} of {most * len(loads)} slots are taken, the others are for builds that came before"
        return f"all {most * len(loads)} slots are taken by {taken} builds"

    def _make_timeout(self, view: PoolView, ticket: PoolLease | None) -> QueueTimeout:
        node = self._request.node
        where = f"builder {node.location.name!r} has no free slot: {self._describe_slots(view)}"
        if ticket is None:
            return QueueTimeout(f"{where}, and --queue-timeout is 0", fix=_FIX)
        place = self._find_place(view, ticket) + 1
        waited = f"{self._request.timeout:g} s"
        return QueueTimeout(f"{where}; the build has waited for {waited} and is number {place} in the queue", fix=_FIX)
