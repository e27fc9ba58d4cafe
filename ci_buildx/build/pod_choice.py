"""The choice of the pod that builds, of each node: the only one, one of several, or one with a free slot."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder, Workload
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import PodView, choose_pod, explain_choice, list_choices
from ci_buildx.errors import Forbidden, KubeError, Stopped
from ci_buildx.progress.display import DisplayPhase
from ci_buildx.runtime.signals import start_thread
from ci_buildx.settings.builder import LoadBalance

if TYPE_CHECKING:
    from ci_buildx.builder.pool.keeper import LeaseKeeper
    from ci_buildx.builder.pool.nodes import CordonedNodes
    from ci_buildx.builder.pool.pool import PodPool, PodSlot
    from ci_buildx.builder.pool.scaling import ElasticNode

_TICK = 0.1


def make_elastic_node(builder: Builder, node: NodePlan) -> ElasticNode | None:
    """Return a node whose number of pods follows its builds; None if the number is fixed."""
    if node.scaling is None or not node.max_builds:
        return None
    from ci_buildx.builder.pool.leases import PoolNode
    from ci_buildx.builder.pool.scaling import ElasticNode

    return ElasticNode(
        node=PoolNode(location=builder.location, name=node.name, owner=builder.owner),
        kind=builder.kinds.get(node.name, Workload.JOB),
        path=builder.make_workload_path(node),
        scaling=node.scaling,
        most=node.max_builds,
    )


class PodChooser:
    """Chooses a pod of each node, and holds the slots of a build that shares pods with others. Thread-safe.

    Slots are given up by :meth:`close`, which the main thread also calls if a signal ends the build. Without
    ``claims``, it takes none, because no build begins in its pods yet. Builds of one process that have common
    ``turns``, by node, claim one after the other: at most one of them waits in a node's queue.
    """

    def __init__(
        self,
        site: BuildRun,
        builder: Builder,
        boot: Boot,
        phase: DisplayPhase,
        *,
        claims: bool = True,
        turns: Mapping[str, threading.Lock] | None = None,
    ) -> None:
        self._site = site
        self._builder = builder
        self._boot = boot
        self._phase = phase
        self._claims = claims
        self._turns = turns or {}
        self._lock = threading.Lock()
        self._keeper: LeaseKeeper | None = None
        self._cordoned: CordonedNodes | None = None
        self._slots: dict[str, str] = {}
        self._retried: dict[str, DisplayPhase] = {}
        self._avoided: set[str] = set()
        self._placed = {node.name: threading.Event() for node in builder.plan.nodes}

    def choose(self, node: NodePlan) -> PodView:
        """Return the node's pod as soon as it is scheduled; of several, one of those that are ready.

        A build that shares the pods with others first claims a slot in one; an earlier slot of the node is given up.
        Raises BootError, QueueTimeout, Stopped, KubeError.
        """
        lasting = bool(self._site.settings.builder_name)
        shared = self._claims and node.pooled and (lasting or self._site.settings.keep)
        if node.replicas == 1 and not lasting:
            pod = self._boot.wait_until_scheduled(node)
            return self._take_slot_or_elect(node, (pod,)) if shared else pod
        if not lasting and node.name in self._retried:
            pods = self._boot.wait_until_any_ready(node)
        else:
            pods = self._boot.wait_until_electable(node) if lasting else self._boot.wait_until_ready(node)
        pods = self._leave_out_avoided(pods)
        if shared:
            return self._take_slot_or_elect(node, pods)
        if node.replicas == 1 and len(pods) == 1:
            return pods[0]
        return self._elect(node, pods)

    def begin_again(self, node: NodePlan, phase: DisplayPhase, *, avoid: str = "") -> None:
        """Prepare for another choice, shown in ``phase``, after a pod of the node was lost.

        The pod ``avoid`` cannot be reached, so it is chosen only if there is no other.
        """
        self._retried[node.name] = phase
        if avoid:
            self._avoided.add(avoid)

    def _leave_out_avoided(self, pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
        return tuple(pod for pod in pods if pod.name not in self._avoided) or pods

    def _add_output(self, node: NodePlan, text: str) -> None:
        self._retried.get(node.name, self._phase).add_output(text)

    def close(self) -> None:
        """Give up all slots, and every place in a queue. Idempotent."""
        if self._keeper is not None:
            self._keeper.close()

    def _elect(self, node: NodePlan, pods: Sequence[PodView]) -> PodView:
        """Choose one of several pods regardless of their load, and log the choice and its reason."""
        by_name = {pod.name: pod for pod in pods}
        if node.loadbalance is LoadBalance.RANDOM:
            import secrets  # imports random and hashing: a millisecond that few builds need

            chosen, why = by_name[secrets.choice(sorted(by_name))], "at random"
        else:
            key = self._make_key(node)
            chosen, why = by_name[choose_pod(key, by_name)], f"by the sticky key {key!r}"
        if self._claims:
            self._add_output(node, explain_choice(chosen, self._boot.list_pods(node), why))
        return chosen

    def _take_slot_or_elect(self, node: NodePlan, pods: Sequence[PodView]) -> PodView:
        """Claim a slot; choose by the key alone if the account may not, and the number of builds is unbounded."""
        self._wait_for_turn(node)
        try:
            with self._take_turn(node):
                return self._take_slot(node)
        except Forbidden as failure:
            if node.max_builds:
                raise
            self._site.display.warn(f"running builds are not counted, so the pod is chosen without its load: {failure}")
            return self._elect(node, pods)
        finally:
            self._placed[node.name].set()

    def _wait_for_turn(self, node: NodePlan) -> None:
        """Wait for the nodes whose names come first.

        All builds claim slots of several nodes in one order, so no two wait for each other's.
        """
        for name in sorted(self._placed):
            if name == node.name:
                return
            earlier = next(one for one in self._builder.plan.nodes if one.name == name)
            while earlier.pooled and not self._placed[name].wait(_TICK):
                if self._site.stop.is_set():
                    raise Stopped

    @contextmanager
    def _take_turn(self, node: NodePlan) -> Iterator[None]:
        """Let no other build with the same turns claim a slot of the node meanwhile.

        A build that has lost its pod does not wait for them: one of them may wait for a slot that it still holds.
        """
        turn = self._turns.get(node.name)
        if turn is None or node.name in self._retried:
            yield
            return
        while not turn.acquire(timeout=_TICK):
            if self._site.stop.is_set():
                raise Stopped
        try:
            yield
        finally:
            turn.release()

    def _take_slot(self, node: NodePlan) -> PodView:
        from ci_buildx.builder.pool.placement import explain_placement

        keeper = self._open_keeper()
        if earlier := self._slots.pop(node.name, ""):
            keeper.release(earlier)
        pool = self._make_pool(keeper, node)
        slot = pool.try_at_once() or self._wait_in_queue(pool)
        self._slots[node.name] = slot.lease
        if pool.request.elastic is not None:
            start_thread(lambda: self._remove_idle_pods(node, pool))
        chosen = slot.placement.pod
        why = explain_placement(pool.request.rule, slot.placement)
        self._add_output(node, explain_choice(chosen, self._boot.list_pods(node), why, self._list_cordoned()))
        return chosen

    def _wait_in_queue(self, pool: PodPool) -> PodSlot:
        from ci_buildx.builder.pool.queue import SlotQueue  # most builds find a free slot

        with self._site.phases.measure("queue"):
            slot = SlotQueue(self._site.kube, pool).wait()
        self._boot.deadline += slot.waited
        return slot

    def _make_pool(self, keeper: LeaseKeeper, node: NodePlan) -> PodPool:
        from ci_buildx.builder.pool.leases import PoolNode
        from ci_buildx.builder.pool.placement import PlacementRule
        from ci_buildx.builder.pool.pool import PodPool, SlotRequest

        place = PoolNode(location=self._builder.location, name=node.name, owner=self._builder.owner)
        elastic = make_elastic_node(self._builder, node)
        rule = PlacementRule(
            policy=node.loadbalance,
            key=self._make_key(node),
            most=node.max_builds,
            least=max(elastic.scaling.least, 1) if elastic is not None else 0,
        )
        request = SlotRequest(
            node=place,
            rule=rule,
            list_pods=lambda: self._leave_out_avoided(list_choices(self._boot.list_pods(node), self._list_cordoned())),
            explain=partial(self._add_output, node),
            warn=self._site.display.warn,
            stop=self._site.stop,
            timeout=self._site.settings.queue_timeout,
            elastic=elastic,
        )
        return PodPool(self._site.kube, keeper, request)

    def _remove_idle_pods(self, node: NodePlan, pool: PodPool) -> None:
        """Remove pods that were idle for long. Best effort: errors are ignored."""
        from ci_buildx.builder.pool import scaling
        from ci_buildx.builder.pool.keeper import LeaseKeeper

        elastic, keeper = pool.request.elastic, LeaseKeeper(self._site.kube, os.urandom(8).hex())
        pods = self._boot.list_pods(node)
        if elastic is None or not scaling.select_removable(
            elastic, pods, pool.view, keeper.clock.read(), replicas=len(pods)
        ):
            return
        with suppress(KubeError):
            gone = scaling.remove_idle_pods(self._site.kube, elastic, keeper, pods, pool.view)
            if gone:
                self._site.display.note(f"scaling node {node.name} down", f"idle pods: {', '.join(gone)}")

    def _list_cordoned(self) -> frozenset[str]:
        """Return the cordoned cluster nodes; not asked for a builder with a single pod, which has no alternative."""
        from ci_buildx.builder.pool.nodes import CordonedNodes

        if all(node.replicas == 1 for node in self._builder.plan.nodes):
            return frozenset()
        with self._lock:
            self._cordoned = self._cordoned or CordonedNodes(self._site.kube)
        return self._cordoned.list_names()

    def _open_keeper(self) -> LeaseKeeper:
        from ci_buildx.builder.pool.keeper import LeaseKeeper

        with self._lock:
            if self._keeper is None:
                self._keeper = LeaseKeeper(self._site.kube, os.urandom(8).hex())
                self._site.undo.callback(self._keeper.close)
        return self._keeper

    def _make_key(self, node: NodePlan) -> str:
        from ci_buildx.build.context import sticky_key

        site = self._site
        return sticky_key.make_sticky_key(site.settings, node.platforms, site.env, target=site.label)
