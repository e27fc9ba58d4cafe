"""Connections to the buildkitd of each node's pod, by racing the transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from ci_buildx.build.build_run import BOOTING, BuildRun
from ci_buildx.build.dialer import PodDialer
from ci_buildx.build.pod_choice import PodChooser
from ci_buildx.builder import plan
from ci_buildx.builder.boot.observation import UNSCHEDULABLE
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.grpc import load_grpc
from ci_buildx.errors import BootError, BuildkitError, PodLost, Stopped, TransportError
from ci_buildx.model import debug
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.display import DisplayPhase
from ci_buildx.runtime.signals import run_all, start_thread
from ci_buildx.settings.values import BuildSettings, TransportChoice
from ci_buildx.transport import race as transport_race
from ci_buildx.transport.race import TransportWinner

T = TypeVar("T")

_LOG = debug.get_log("build")
_CHOICES = 3
"""Pods that are chosen one after the other, if each is replaced before it has answered."""


_ANOTHER_NODE = (
    "add a node for it with kube-builder create --append --platform: one of that architecture, "
    "or one with driver-opt qemu.install=true"
)


_RUN = compile_lazily(r"(?im)^[ \t]*run\b")
"""A RUN instruction; one inside of a heredoc counts, too."""


def _refuse_renewal() -> NodeConnection:
    raise TransportError("the connection was lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnection:
    """A connection to a node's buildkitd in ``pod``, which has answered."""

    node: NodePlan
    pod: str
    winner: TransportWinner[Control]
    renew: Callable[[], NodeConnection] = _refuse_renewal
    """Connects to the same pod again after this connection broke. Raises as :func:`connect_nodes` does."""

    @property
    def control(self) -> Control:
        """The Control service of this buildkitd."""
        return self.winner.value

    def check_platforms(self, *, lasting: bool = False, runs_steps: Callable[[], bool] = lambda: True) -> None:
        """Raise BuildkitError if the pod cannot run its platforms and ``runs_steps``, because they would fail singly.

        buildkitd includes the emulators of its image and of the cluster node (BuildKit 0.34.2, ``util/archutil``).
        Variants are ignored, since they do not depend on the cluster node. Platforms other than Linux run no steps:
        they are only assembled.
        """
        runs = {platform.node_architecture for platform in self.control.platforms}
        missing = [one for one in self.node.platforms if one.os == "linux" and one.node_architecture not in runs]
        if missing and runs and runs_steps():
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


def may_run_steps(build: BuildSettings) -> bool:
    """Return whether a build may run steps: its Dockerfile has a RUN, or only BuildKit sees it."""
    try:
        return build.dockerfile is None or bool(_RUN.search(build.dockerfile.read_text(errors="replace")))
    except OSError:
        return True


@contextmanager
def connect_nodes(site: BuildRun, builder: Builder) -> Iterator[tuple[Boot, list[NodeConnection]]]:
    """Wait for the builder's pods and connect to one pod of each node, all nodes at once; closed at the end.

    If a node cannot be scheduled and the plan left emulation to the scheduler, another node emulates its platforms.
    Raises BootError if a pod cannot start, TransportError if none can be reached.
    """
    with ExitStack() as undo:
        with site.phases.measure("boot"), site.boot or site.display.begin_phase(BOOTING) as phase:
            timeout = site.settings.builder.timeout if builder.timeout is None else builder.timeout
            deadline = time.monotonic() + timeout
            fresh = not site.settings.builder_name
            boot = undo.enter_context(
                Boot(site.kube, builder, deadline=deadline, explain=phase.add_output, stop=site.stop, fresh=fresh)
            )
            chooser = PodChooser(site, builder, boot, phase)
            undo.callback(chooser.close)
            connector = _NodeConnector(site=site, builder=builder, boot=boot, phase=phase, chooser=chooser, undo=undo)
            connections = connector.reach_all()
        yield boot, connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeConnector:
    """One boot: the state that all nodes share while they start."""

    site: BuildRun
    builder: Builder
    boot: Boot
    phase: DisplayPhase
    chooser: PodChooser
    undo: ExitStack

    def reach_all(self) -> list[NodeConnection]:
        nodes = self.builder.plan.nodes
        found = run_all([partial(self.try_reach, node) for node in nodes], stop=self.site.stop)
        planned = self.builder.plan
        for node, connection in zip(nodes, found, strict=True):
            if isinstance(connection, BootError):
                planned = self.emulate(planned, node, connection)
        reached = {one.node.name: one for one in found if isinstance(one, NodeConnection)}
        connections = [replace(reached[node.name], node=node) for node in planned.nodes]
        for one in connections:
            one.check_platforms(
                lasting=self.builder.location.lasting, runs_steps=partial(may_run_steps, self.site.settings.build)
            )
        return connections

    def try_reach(self, node: NodePlan) -> NodeConnection | BootError:
        """Return the connection, or the BootError if another node may take over."""
        try:
            return self.reach(node)
        except BootError as failure:
            if failure.reason == UNSCHEDULABLE and node.by_scheduling:
                return failure
            raise

    def emulate(self, planned: plan.Plan, node: NodePlan, failure: BootError) -> plan.Plan:
        """Return the plan without a node that could not be scheduled, and remove that node's Job."""
        changed = plan.replan(planned, node.architecture or "")
        if changed is None:
            if not self.site.settings.build.platforms:
                fix = f"{failure.fix}; or set --platform to the architecture of the cluster's nodes"
                raise BootError(failure.subject, failure.reason, failure.detail, fix=fix) from failure
            raise failure
        find.remove_failed_node(self.site.kube, self.builder, node)
        for kept in changed.nodes:
            self.phase.add_output(kept.reason)
            if kept not in planned.nodes and self.site.settings.keep:
                find.update_node_annotations(self.site.kube, self.builder, kept)
        return changed

    def reach(self, node: NodePlan) -> NodeConnection:
        """Choose a pod of the node and connect to it while it starts."""
        start = time.monotonic()
        pod, connection = self.connect(node)
        winner = connection.winner
        self.boot.record_answer(pod.name)
        self.remember(node, pod, winner.name)
        seconds = time.monotonic() - start
        self.phase.add_output(f"pod {pod.name} on node {pod.host} answered over {winner.name} after {seconds:.1f} s")
        return connection

    def connect(self, node: NodePlan) -> tuple[PodView, NodeConnection]:
        """Choose a pod and connect to it, or to the next one if a lasting builder's workload replaces it meanwhile."""
        left = _CHOICES
        while True:
            pod, left = self.chooser.choose(node), left - 1
            try:
                return pod, self.join(node, pod)
            except (BootError, PodLost) as failure:
                now = self.boot.find_pod(pod.name)
                replaced = self.builder.location.lasting and (now is None or now.terminating)
                if not (replaced and left):
                    raise
                self.phase.add_output(f"{failure}; another pod takes its place")

    def join(self, node: NodePlan, pod: PodView) -> NodeConnection:
        """Connect to the pod over the first transport that answers."""
        winner = self.race(node, pod)

        def renew() -> NodeConnection:
            winner.value.close()
            return self.join(node, self.boot.find_pod(pod.name) or pod)

        connection = NodeConnection(node=node, pod=pod.name, winner=winner, renew=renew)
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
