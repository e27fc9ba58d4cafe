"""Pods for targets that are built together: each group of linked targets is placed in a pool like a build of its own.

Targets in the same pod share one connection to it, and the sessions of the folders that they send.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.connect import NodeConnection, NodeConnector, NodeSeat, RaceToPod, reach_nodes
from ci_buildx.build.pod_choice import PodChooser
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import Stopped
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.signals import forward_stop, start_thread

if TYPE_CHECKING:
    from ci_buildx.builder.boot.watch import Boot
    from ci_buildx.buildkit.control import Control
    from ci_buildx.transport.race import TransportWinner


class _PodSeat:
    """The connection to one pod; ``lock`` is held while it is made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.winner: TransportWinner[Control] | None = None


class SharedConnections:
    """Connections by pod, so that targets in the same pod share one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: dict[str, _PodSeat] = {}

    def reuse(self, pod: str, broken: TransportWinner[Control] | None, connect: RaceToPod) -> TransportWinner[Control]:
        """Return the pod's connection; make it if there is none but the ``broken`` one."""
        with self._lock:
            seat = self._seats.setdefault(pod, _PodSeat())
        with seat.lock:
            if seat.winner is None or seat.winner is broken:
                seat.winner = connect()
            return seat.winner


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlace:
    """The pods of one group: ``find`` returns the connection in use on a node, ``close`` gives the slots up."""

    connections: tuple[NodeConnection, ...]
    find: Callable[[str], NodeConnection]
    close: Callable[[], None]


class TargetGroup:
    """Linked targets, which are built in the same pods, by their names. Thread-safe.

    The pods are chosen when its first target begins, and given up when its last one has ended.
    """

    def __init__(self, targets: Iterable[str], place: Callable[[], GroupPlace]) -> None:
        self._left = set(targets)
        self._choose = place
        self._lock = threading.Lock()
        self._is_lost = False
        self._place: GroupPlace | None = None

    def reach(self) -> GroupPlace:
        """Return the group's pods. Raises the error of their choice, and Stopped for the group's other targets."""
        with self._lock:
            if self._is_lost:
                raise Stopped
            if self._place is None:
                self._is_lost = True
                self._place = self._choose()
                self._is_lost = False
            return self._place

    def leave(self, target: str) -> None:
        """Note that a target has ended."""
        with self._lock:
            self._left.discard(target)
            if not self._left and self._place is not None:
                self._place.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPods:
    """Connections to one pod of each node, and where further groups are placed; None: all are in those pods."""

    boot: Boot
    connections: Sequence[NodeConnection]
    spread: PoolSpread | None = None

    def make_group(self, site: BuildRun, targets: Iterable[str], nodes: Iterable[str]) -> TargetGroup:
        """Return a group of targets that need these nodes; ``site`` has the settings and the name of its first."""
        known = {one.node.name: one for one in self.connections}
        if self.spread is not None:
            spread, chosen = self.spread, tuple(known[name].node for name in dict.fromkeys(nodes))
            return TargetGroup(targets, lambda: spread.place(site, chosen))
        place = GroupPlace(connections=tuple(self.connections), find=known.__getitem__, close=lambda: None)
        return TargetGroup(targets, lambda: place)


@contextmanager
def open_target_pods(site: BuildRun, builder: Builder, *, groups: int) -> Iterator[TargetPods]:
    """Wait for the builder's pods and connect to one of each node. Raises as :func:`connect.connect_nodes` does."""
    if groups < 2 or not any(_is_pool(site, node) for node in builder.plan.nodes):
        with reach_nodes(site, builder) as (connector, connections):
            yield TargetPods(boot=connector.boot, connections=connections)
        return
    with reach_nodes(site, builder, reuse=SharedConnections().reuse) as (connector, connections), ExitStack() as undo:
        spread = PoolSpread(connector, connections)
        undo.callback(spread.close)
        yield TargetPods(boot=connector.boot, connections=connections, spread=spread)


def _is_pool(site: BuildRun, node: NodePlan) -> bool:
    """Return whether builds choose between pods of a node, or wait for a slot in its only one."""
    claimed = bool(site.settings.builder_name) or site.settings.keep
    return node.replicas > 1 or (claimed and node.pooled)


class PoolSpread:
    """Places groups of targets in the pods of a builder that has several, or whose pods have few slots."""

    def __init__(self, connector: NodeConnector, connections: Sequence[NodeConnection]) -> None:
        self._connector = connector
        self._turns: Mapping[str, threading.Lock] = {one.node.name: threading.Lock() for one in connections}
        self._known = {one.node.name: one.winner.name for one in connections}
        self._over = threading.Event()

    def close(self) -> None:
        """End what watches for the job's end."""
        self._over.set()

    def place(self, site: BuildRun, nodes: Sequence[NodePlan]) -> GroupPlace:
        """Choose a pod of each node by the site's sticky key and by load, and connect to it.

        Raises BootError, QueueTimeout, TransportError, Stopped, KubeError.
        """
        base = self._connector
        # A group that fails must not stop the others.
        job, stop = site.stop, threading.Event()
        start_thread(lambda: forward_stop(job, stop, self._over))
        site = replace(site, stop=stop)
        # Emulation was decided when the first pods were reached, and their transports are stored by now.
        planned = Plan(nodes=tuple(replace(node, by_scheduling=False) for node in nodes))
        builder = replace(base.builder, plan=planned, transports={**base.builder.transports, **self._known})
        base.boot.extend_deadline()
        with site.display.begin_phase(f"pod for {site.label}" if site.label else "pod") as phase:
            chooser = PodChooser(site, builder, base.boot, phase, turns=self._turns)
            connector = replace(
                base,
                site=site,
                builder=builder,
                phase=phase,
                chooser=chooser,
                seats={node.name: NodeSeat(left=site.settings.retries) for node in nodes},
                notes=None,
            )
            try:
                connections = tuple(connector.reach_all())
            except BaseException:
                chooser.close()
                raise
        first = {one.node.name: one for one in connections}
        seats = connector.seats
        return GroupPlace(
            connections=connections, find=lambda name: seats[name].current or first[name], close=chooser.close
        )
