"""Connections to the buildkitd of each node's pod, by racing the transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ci_buildx.build import builder_scope
from ci_buildx.build.build_run import BOOTING, BuildRun
from ci_buildx.build.dialer import PodDialer
from ci_buildx.build.pod_choice import PodChooser
from ci_buildx.builder.boot.observation import UNSCHEDULABLE
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.grpc import load_grpc
from ci_buildx.errors import BootError, BuildkitError, KubeBuilderError, PodLost, Stopped, TransportError
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.progress.display import DisplayPhase
from ci_buildx.runtime.signals import run_all, start_thread
from ci_buildx.settings.values import BuildSettings, TransportChoice
from ci_buildx.transport import race as transport_race
from ci_buildx.transport.race import TransportWinner

if TYPE_CHECKING:
    from ci_buildx.build.boot_notes import BootNotes

RaceToPod = Callable[[], TransportWinner[Control]]
ReuseConnection = Callable[[str, TransportWinner[Control] | None, RaceToPod], TransportWinner[Control]]

_LOG = debug.get_log("build")
_CHOICES = 3
"""Pods that are chosen one after the other, if each is replaced before it has answered."""
_ANOTHER_NODE = (
    "add a node for it with kube-builder create --append --platform: one of that architecture, "
    "or one with driver-opt qemu.install=true"
)


def _refuse_renewal() -> NodeConnection:
    raise TransportError("the connection was lost")


def _refuse_replacement(_: NodeConnection, failure: KubeBuilderError) -> NodeConnection:
    raise failure


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnection:
    """A connection to a node's buildkitd in ``pod``, which has answered.

    ``number`` counts the pods that the build has used on this node, from 0.
    """

    node: NodePlan
    pod: str
    winner: TransportWinner[Control]
    renew: Callable[[], NodeConnection] = _refuse_renewal
    """Connects to the same pod again after this connection broke. Raises as :func:`connect_nodes` does."""
    number: int = 0
    change_pod: Callable[[NodeConnection, KubeBuilderError], NodeConnection] = _refuse_replacement
    """Connects to another pod after this one was lost by a failure. Raises that failure if no retry is left."""
    find_newer: Callable[[NodeConnection], NodeConnection | None] = lambda _: None
    """Returns the connection that has replaced this one for another build on the node, None if there is none."""

    @property
    def control(self) -> Control:
        """The Control service of this buildkitd."""
        return self.winner.value

    def check_platforms(self, build: BuildSettings, *, lasting: bool = False) -> None:
        """Raise BuildkitError if the pod cannot run its platforms and ``build`` may run steps: they would fail singly.

        buildkitd includes the emulators of its image and of the cluster node (BuildKit 0.34.2, ``util/archutil``).
        Variants are ignored, since they do not depend on the cluster node. Platforms other than Linux run no steps:
        they are only assembled.
        """
        runs = {platform.node_architecture for platform in self.control.platforms}
        missing = [one for one in self.node.platforms if one.os == "linux" and one.node_architecture not in runs]
        if not (missing and runs):
            return
        from ci_buildx.build.dockerfile import may_run_steps

        if may_run_steps(build):
            names = ", ".join(map(str, missing))
            known = ", ".join(map(str, self.control.platforms))
            raise BuildkitError(
                f"pod {self.pod} does not run {names}, only {known}",
                code="FAILED_PRECONDITION",
                fix=_ANOTHER_NODE if lasting else "add driver-opt qemu.install=true, or nodes of that architecture",
            )

    def close(self) -> None:
        """Close the connection and its transport."""
        self.control.close()
        self.winner.close()


@contextmanager
def connect_nodes(site: BuildRun, builder: Builder) -> Iterator[tuple[Boot, list[NodeConnection]]]:
    """Wait for the builder's pods and connect to one pod of each node, all nodes at once; closed at the end.

    If a node cannot be scheduled and the plan left emulation to the scheduler, another node emulates its platforms.
    Raises BootError if a pod cannot start, TransportError if none can be reached.
    """
    with reach_nodes(site, builder) as (connector, connections):
        yield connector.boot, connections


@contextmanager
def reach_nodes(
    site: BuildRun, builder: Builder, *, reuse: ReuseConnection | None = None
) -> Iterator[tuple[NodeConnector, list[NodeConnection]]]:
    """Do as :func:`connect_nodes`, and yield the connector.

    With ``reuse``, builds that are placed later have their own slots: none is claimed here.
    """
    with ExitStack() as undo:
        with site.phases.measure("boot"), site.boot or site.display.begin_phase(BOOTING) as phase:
            timeout = site.settings.builder.timeout if builder.timeout is None else builder.timeout
            deadline = time.monotonic() + timeout
            fresh = not site.settings.builder_name
            notes = None
            if fresh:
                from ci_buildx.build.boot_notes import open_notes

                notes = undo.enter_context(open_notes(phase.add_output))
            explain = phase.add_output if notes is None else notes.explain
            boot = undo.enter_context(
                Boot(site.kube, builder, deadline=deadline, explain=explain, stop=site.stop, fresh=fresh)
            )
            chooser = PodChooser(site, builder, boot, phase, claims=reuse is None)
            undo.callback(chooser.close)
            connector = NodeConnector(
                site=site,
                builder=builder,
                boot=boot,
                phase=phase,
                chooser=chooser,
                undo=undo,
                seats={node.name: NodeSeat(left=site.settings.retries) for node in builder.plan.nodes},
                notes=notes,
                reuse=reuse,
            )
            try:
                connections = connector.reach_all()
            finally:
                if notes is not None:
                    notes.clear()
        yield connector, connections


@dataclass(slots=True, kw_only=True)
class NodeSeat:
    """The pods that builds of one node use, one after the other; ``left`` is how many more may be lost.

    ``changing`` is held while a lost pod is replaced, because the targets of a bake lose it together.
    """

    left: int
    number: int = 0
    current: NodeConnection | None = None
    changing: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnector:
    """One boot: the state that all nodes share while they start.

    ``reuse`` returns the connection to a pod, given the one that broke, if any, and how to connect again.
    """

    site: BuildRun
    builder: Builder
    boot: Boot
    phase: DisplayPhase
    chooser: PodChooser
    undo: ExitStack
    seats: Mapping[str, NodeSeat]
    notes: BootNotes | None
    reuse: ReuseConnection | None = None

    def reach_all(self) -> list[NodeConnection]:
        """Connect to one pod of each node. Raises as :func:`connect_nodes` does."""
        nodes = self.builder.plan.nodes
        found = run_all([partial(self.try_reach, node) for node in nodes], stop=self.site.stop)
        planned = self.builder.plan
        for node, connection in zip(nodes, found, strict=True):
            if isinstance(connection, BootError):
                from ci_buildx.build.emulated_nodes import emulate_node  # clusters seldom lack a node

                planned = emulate_node(self.site, self.builder, self.phase, planned, node, connection)
        reached = {one.node.name: one for one in found if isinstance(one, NodeConnection)}
        connections = [replace(reached[node.name], node=node) for node in planned.nodes]
        for one in connections:
            one.check_platforms(self.site.settings.build, lasting=self.builder.location.lasting)
        return connections

    def try_reach(self, node: NodePlan) -> NodeConnection | BootError:
        """Return the connection, or the BootError if another node may take over."""
        try:
            return self.reach(node)
        except BootError as failure:
            if failure.reason == UNSCHEDULABLE and node.by_scheduling:
                return failure
            raise

    def reach(self, node: NodePlan) -> NodeConnection:
        """Choose a pod of the node and connect to it while it starts."""
        start = time.monotonic()
        pod, connection = self.connect(node)
        self.seats[node.name].current = connection
        winner = connection.winner
        self.boot.record_answer(pod.name)
        if self.notes is not None:
            self.notes.settle(f"pod {pod.name}")
        self.remember(node, pod, winner.name)
        seconds = time.monotonic() - start
        self.phase.add_output(f"pod {pod.name} on node {pod.host} answered over {winner.name} after {seconds:.1f} s")
        return connection

    def connect(self, node: NodePlan) -> tuple[PodView, NodeConnection]:
        """Choose a pod and connect to it, or to the next one if it is lost before it answers.

        A lasting builder's workload replaces pods, so a few of those do not count as retries.
        """
        left = _CHOICES
        while True:
            pod = None
            try:
                pod, left = self.chooser.choose(node), left - 1
                return pod, self.join(node, pod)
            except (BootError, PodLost) as failure:
                now = self.boot.find_pod(pod.name) if pod else None
                replaced = pod and self.builder.location.lasting and (now is None or now.terminating)
                if replaced and left:
                    self.phase.add_output(f"{failure}; another pod takes its place")
                    continue
                from ci_buildx.build import retries

                seat = self.seats[node.name]
                if not (retries.is_boot_loss(failure) and seat.left) or self.site.stop.is_set():
                    raise
                self.count_loss(seat, failure)
                self.boot.begin_again(node, pod.name if pod else "", self.phase.add_output)

    def count_loss(self, seat: NodeSeat, failure: KubeBuilderError) -> None:
        """Use one of the retries, and show it."""
        from ci_buildx.build import retries

        seat.left -= 1
        seat.number += 1
        self.site.display.warn(retries.describe_retry(failure, seat.left))

    def change_pod(self, lost: NodeConnection, failure: KubeBuilderError) -> NodeConnection:
        """Connect to another pod after one was lost; raise ``failure`` if no retry is left or no pod is found.

        For a job's builder, its Job starts that pod; a lasting one has the next in the key's order. The builder is
        looked up again, with its trust scope and its keys: it may be another one by now.
        """
        from ci_buildx.build import retries

        seat, node = self.seats[lost.node.name], lost.node
        with seat.changing:
            if newer := self.find_newer(lost):
                return newer
            while seat.left and not self.site.stop.is_set():
                self.count_loss(seat, failure)
                with self.site.phases.measure("retry"), self.site.display.begin_phase(f"{BOOTING} again") as phase:
                    try:
                        self.release_pod(lost, failure, phase)
                        return self.reach_another(node, phase)
                    except Stopped:
                        raise
                    except KubeBuilderError as error:
                        phase.end(error)
                        if not retries.is_pod_loss(error):
                            failure.add_note(f"the build cannot go on in another pod: {error}")
                            raise failure from error
                        failure = error
            raise failure

    def reach_another(self, node: NodePlan, phase: DisplayPhase) -> NodeConnection:
        """Connect to a pod of the node as it is now. Raises KubeBuilderError."""
        known = self.builder
        if self.site.settings.builder_name:
            known = builder_scope.refresh_builder(self.site, known)
        found = replace(self, builder=known, phase=phase, notes=None).reach(node)
        found.check_platforms(self.site.settings.build, lasting=known.location.lasting)
        return found

    def release_pod(self, lost: NodeConnection, failure: KubeBuilderError, phase: DisplayPhase) -> None:
        """Leave a lost pod; one that runs but cannot be reached is not used again if there are others.

        The connection is closed with all others: other targets of a bake may be about to use it.
        """
        self.boot.begin_again(lost.node, lost.pod, phase.add_output)
        unreachable = not isinstance(failure, (BootError, PodLost))
        self.chooser.begin_again(lost.node, phase, avoid=lost.pod if unreachable else "")
        if unreachable and not self.builder.location.lasting:
            find.remove_pod(self.site.kube, self.builder, lost.pod)

    def find_newer(self, lost: NodeConnection) -> NodeConnection | None:
        """Return the connection in use on the node if it is newer, for the same platforms."""
        current = self.seats[lost.node.name].current
        return replace(current, node=lost.node) if current is not None and current.number > lost.number else None

    def join(self, node: NodePlan, pod: PodView, broken: TransportWinner[Control] | None = None) -> NodeConnection:
        """Connect to the pod over the first transport that answers; again, if that connection is ``broken``."""
        race = partial(self.race, node, pod)
        winner = race() if self.reuse is None else self.reuse(pod.name, broken, race)
        number = self.seats[node.name].number

        def renew() -> NodeConnection:
            winner.value.close()
            self.boot.extend_deadline()
            return replace(self.join(node, self.boot.find_pod(pod.name) or pod, winner), number=number)

        connection = NodeConnection(
            node=node,
            pod=pod.name,
            winner=winner,
            renew=renew,
            number=number,
            change_pod=self.change_pod,
            find_newer=self.find_newer,
        )
        self.undo.callback(connection.close)
        return connection

    def remember(self, node: NodePlan, pod: PodView, transport: str) -> None:
        """Store the winning transport, so that later steps that use the builder start with it.

        A tunnel that won while the pod booted had a head start (the pod's address is known late) and would be slower,
        so it is not stored. A transport that the user chose is stored only when the builder is created; on use, it
        applies to one build.
        """
        settings = self.site.settings
        raced = settings.transport is TransportChoice.AUTO
        fair = pod.ready or transport == TransportChoice.DIRECT if raced else settings.keep
        lasting = settings.keep or settings.builder_name
        if lasting and fair and self.builder.transports.get(node.name) != transport:
            start_thread(lambda: find.remember_transport(self.site.kube, self.builder, node, transport))

    def race(self, node: NodePlan, pod: PodView) -> TransportWinner[Control]:
        """Race the transports while the pod boots; the race also ends when the watch of the pod does.

        Raises the error of the watch (the pod failed) rather than that of the race, and Stopped if the build was
        stopped.
        """
        over = threading.Event()

        def watch() -> None:
            try:
                self.boot.watch(node, pod.name, over)
            finally:
                over.set()

        watched = start_thread(watch)
        ways = self.make_dialer(node)
        candidates = ways.list_candidates(pod, lambda: self.boot.find_pod(pod.name))
        if len(candidates) > 1:
            # Import gRPC first: a candidate that waits for the import looks slow, and the next one starts for nothing.
            load_grpc()
        if _LOG.is_on:
            order = ", ".join(f"{one.name} after {one.delay} s" for one in candidates)
            _LOG.debug("pod %s on node %s is asked by %s", pod.name, pod.host, order)
        try:
            winner = transport_race.race_transports(
                candidates,
                answer=ways.answer,
                deadline=self.boot.deadline,
                stop=over,
                discard=Control.close,
                subject=pod.name,
            )
            return ways.prefer_direct(self.boot.find_pod(pod.name) or pod, winner)
        except TransportError as failure:
            if self.site.stop.is_set():
                raise Stopped from None
            if over.is_set():  # by the watch, whose error is stored a moment later
                watched.done.wait()
            if watched.error is not None:
                raise watched.error from None
            raise ways.explain(pod, failure) from None
        finally:
            over.set()

    def make_dialer(self, node: NodePlan) -> PodDialer:
        """Return the dialer for the node's pods."""
        known = self.builder.transports.get(node.name, "")
        return PodDialer(kube=self.site.kube, keys=self.builder.keys, chosen=self.site.settings.transport, known=known)
