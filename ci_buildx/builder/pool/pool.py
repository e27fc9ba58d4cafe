"""One build's slot in a pool: decided from the Leases of all builds, then claimed; repeated if another is faster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import Random

from ci_buildx.builder.pods import PodView
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import PoolLease, PoolNode, PoolView, make_slot, make_slot_name, read_leases
from ci_buildx.builder.pool.placement import (
    PlacementRule,
    PodLoad,
    PodPlacement,
    count_free_slots,
    place_build,
)
from ci_buildx.builder.pool.scaling import ElasticNode
from ci_buildx.errors import Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
"""Seconds before the first, and before any later repetition of a lost claim; each is varied between 0 and twice it."""
_LOG = debug.get_log("builder")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRequest:
    """A build that needs a slot of ``node``.

    ``list_pods`` returns the pods that may be chosen now. ``explain`` is called with what the build waits for, ``warn``
    if another build has taken over its slot. ``stop`` ends the wait, and so does ``timeout`` (s). ``elastic`` is set if
    the number of pods follows the builds.
    """

    node: PoolNode
    rule: PlacementRule
    list_pods: Callable[[], Sequence[PodView]]
    explain: Callable[[str], None]
    warn: Callable[[str], None]
    stop: threading.Event
    timeout: float
    elastic: ElasticNode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSlot:
    """A slot that a build holds: the name of its Lease, the placement, and the seconds in the queue."""

    lease: str
    placement: PodPlacement
    waited: float = 0.0


class PodPool:
    """The pods of one node, for one build. ``draw`` makes builds that decide at the same time act differently.

    ``view`` has the Leases as they were listed last, and its own slot.
    """

    def __init__(
        self, kube: KubeClient, keeper: LeaseKeeper, request: SlotRequest, *, draw: Random | None = None
    ) -> None:
        self.keeper = keeper
        self.request = request
        self.view = PoolView()
        self.draw = draw or Random()  # noqa: S311
        self._kube = kube

    def try_at_once(self) -> PodSlot | None:
        """Claim a slot; return None if none is free, or if other builds already wait.

        A build that loses a race decides again, knowing the winner's slot: so each lost race is another build's start.
        Raises Stopped, KubeError.
        """
        races = 0
        while True:
            view = self.list_leases()
            if races == 0:
                self.keeper.sweep(self.request.node, view.list_abandoned(self.keeper.clock.read()))
            if not self.has_turn(view, len(view.list_queue(self.keeper.clock.read()))):
                return None
            slot = self.claim(view)
            if slot is not None:
                return slot
            self.pause(races)
            races += 1

    def list_leases(self) -> PoolView:
        """Return the slots and tickets of all builds. Raises KubeError."""
        node = self.request.node
        self.view = read_leases(self._kube.list(node.path, labelSelector=node.selector)["items"])
        return self.view

    def list_loads(self, view: PoolView) -> list[PodLoad]:
        """Return the pods that may be chosen, with their loads."""
        now = self.keeper.clock.read()
        return [PodLoad(pod=pod, held=view.list_held(pod, now)) for pod in self.request.list_pods()]

    def has_turn(self, view: PoolView, place: int) -> bool:
        """Return whether a build with ``place`` others before it may claim a slot: one is left after theirs."""
        loads = self.list_loads(view)
        free = count_free_slots(loads, self.request.rule.most)
        return bool(loads) and (free is None or place < free)

    def claim(self, view: PoolView) -> PodSlot | None:
        """Claim the slot that suits the build best; None if no pod has room or another build was faster.

        Raises KubeError, Stopped.
        """
        if self.request.stop.is_set():
            raise Stopped
        chosen = place_build(self.request.rule, self.list_loads(view), self.draw)
        if chosen is None:
            return None
        name = make_slot_name(chosen.pod, chosen.number)
        lease = self._claim_lease(chosen, view.leases.get(name))
        if lease is None:
            _LOG.debug("slot %s was claimed by another build", name)
            return None
        self.view = view.change(lease)
        return PodSlot(lease=lease.name, placement=chosen)

    def pause(self, races: int) -> None:
        """Wait a random time that grows with the number of lost races. Raises Stopped."""
        longest = min(_FIRST_PAUSE * 2.0**races, _LONGEST_PAUSE)
        if self.request.stop.wait(self.draw.uniform(0.0, 2 * longest)):
            raise Stopped

    def _claim_lease(self, chosen: PodPlacement, known: PoolLease | None) -> PoolLease | None:
        keeper, request = self.keeper, self.request
        wanted = make_slot(
            request.node,
            chosen.pod,
            chosen.number,
            holder=keeper.holder,
            key=request.rule.key,
            renewed=keeper.clock.format(),
        )

        def warn() -> None:
            request.warn(
                f"the slot in pod {chosen.pod.name} could not be renewed in time: another build may share the pod"
            )

        return keeper.claim(request.node, wanted, known, lost=warn, kept=request.elastic is not None)
