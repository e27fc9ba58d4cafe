"""From a builder's nodes to the buildkitd that answers on each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from ci_buildx.builder import balance, lifecycle, plan
from ci_buildx.builder.boot import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.verdict import UNSCHEDULABLE
from ci_buildx.buildkit.channel import load_grpc
from ci_buildx.buildkit.control import Control
from ci_buildx.errors import BootError, BuildkitError, Stopped, TransportError
from ci_buildx.job.dial import Ways
from ci_buildx.job.parallel import begin, run_all
from ci_buildx.job.site import Site
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.display import Phase
from ci_buildx.settings.builder import LoadBalance
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport import race
from ci_buildx.transport.race import Winner

_LOG = debug.get_log("job")
_ANOTHER_NODE = (
    "add a node for it by kube-builder create --append --platform: one of that architecture, "
    "or one with driver-opt qemu.install=true"
)


def _cannot_renew() -> Connection:
    raise TransportError("the connection was lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A node's buildkitd that has answered, in ``pod``."""

    node: NodePlan
    pod: str
    winner: Winner[Control]
    renew: Callable[[], Connection] = _cannot_renew
    """Connects again to the same pod, after this connection broke. Raises as :func:`connected` does."""

    @property
    def control(self) -> Control:
        """Its Control service."""
        return self.winner.value

    def check_platforms(self, *, lasting: bool = False) -> None:
        """Raise BuildkitError where the pod cannot run what it is to build: steps would fail one by one.

        buildkitd counts the emulators that its image and its node have (BuildKit 0.34.2, ``util/archutil``). Variants
        are no matter of the node's, and what is not for Linux runs nowhere: it is only put together.
        """
        runs = {platform.node_architecture for platform in self.control.platforms}
        missing = [one for one in self.node.platforms if one.os == "linux" and one.node_architecture not in runs]
        if missing and runs:
            names = ", ".join(map(str, missing))
            known = ", ".join(map(str, self.control.platforms))
            raise BuildkitError(
                f"pod {self.pod} does not run {names}, only {known}",
                code="FAILED_PRECONDITION",
                fix=_ANOTHER_NODE if lasting else "add driver-opt qemu.install=true, or nodes of that architecture",
            )

    def close(self) -> None:
        """End the connection and its transport."""
        self.control.close()
        self.winner.close()


@contextmanager
def connected(site: Site, builder: Builder) -> Iterator[tuple[Boot, list[Connection]]]:
    """Wait for the builder's pods and connect to one of each node, all nodes at once; closed at the end.

    A node that cannot be scheduled is emulated by another one where the plan left that to the scheduler.
    Raises BootError where a pod cannot start, TransportError where none can be reached.
    """
    with ExitStack() as undo:
        with site.phases.measure("boot"), site.display.phase("booting builder") as phase:
            timeout = site.settings.builder.timeout if builder.timeout is None else builder.timeout
            deadline = time.monotonic() + timeout
            fresh = not site.settings.builder_name
            boot = undo.enter_context(
                Boot(site.kube, builder, deadline=deadline, explain=phase.say, stop=site.stop, fresh=fresh)
            )
            harbour = _Harbour(site=site, builder=builder, boot=boot, phase=phase, undo=undo)
            connections = harbour.reach_all()
        yield boot, connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harbour:
    """One boot: what all nodes share while they are waited for."""

    site: Site
    builder: Builder
    boot: Boot
    phase: Phase
    undo: ExitStack

    def reach_all(self) -> list[Connection]:
        nodes = self.builder.plan.nodes
        found = run_all([partial(self.try_reach, node) for node in nodes], stop=self.site.stop)
        planned = self.builder.plan
        for node, connection in zip(nodes, found, strict=True):
            if isinstance(connection, BootError):
                planned = self.emulate(planned, node, connection)
        reached = {one.node.name: one for one in found if isinstance(one, Connection)}
        connections = [replace(reached[node.name], node=node) for node in planned.nodes]
        for one in connections:
            one.check_platforms(lasting=self.builder.location.lasting)
        return connections

    def try_reach(self, node: NodePlan) -> Connection | BootError:
        """The connection; a BootError is returned where another node may take over."""
        try:
            return self.reach(node)
        except BootError as failure:
            if failure.reason == UNSCHEDULABLE and node.by_scheduling:
                return failure
            raise

    def emulate(self, planned: plan.Plan, node: NodePlan, failure: BootError) -> plan.Plan:
        """The plan without a node that could not be scheduled; its Job is removed."""
        changed = plan.replan(planned, node.architecture or "")
        if changed is None:
            if not self.site.settings.build.platforms:
                fix = f"{failure.fix}; or name the architecture of the cluster's nodes by --platform"
                raise BootError(failure.subject, failure.reason, failure.detail, fix=fix) from failure
            raise failure
        lifecycle.drop_node(self.site.kube, self.builder, node)
        for kept in changed.nodes:
            self.phase.say(kept.reason)
            if kept not in planned.nodes and self.site.settings.keep:
                lifecycle.rewrite_node(self.site.kube, self.builder, kept)
        return changed

    def reach(self, node: NodePlan) -> Connection:
        """Choose a pod of the node and connect to it, knocking while it starts."""
        start = time.monotonic()
        pod = self.choose(node)
        connection = self.join(node, pod)
        winner = connection.winner
        self.boot.answered(pod.name)
        self.remember(node, pod, winner.name)
        seconds = time.monotonic() - start
        self.phase.say(f"pod {pod.name} on node {pod.host} answers by {winner.name} after {seconds:.1f} s")
        return connection

    def join(self, node: NodePlan, pod: PodView) -> Connection:
        """A connection to the pod, by whichever transport answers."""
        winner = self.race(node, pod)

        def renew() -> Connection:
            winner.value.close()
            return self.join(node, self.boot.pod(pod.name) or pod)

        connection = Connection(node=node, pod=pod.name, winner=winner, renew=renew)
        self.undo.callback(connection.close)
        return connection

    def remember(self, node: NodePlan, pod: PodView, transport: str) -> None:
        """Let later steps that use the builder begin with the transport that won.

        A tunnel that won while the pod came up had a head start (its address is known late), and would be slower.
        What was chosen counts where the builder is made; who uses it chooses for one build.
        """
        settings = self.site.settings
        raced = settings.transport is TransportChoice.AUTO
        fair = pod.ready or transport == TransportChoice.DIRECT if raced else settings.keep
        lasting = settings.keep or settings.builder_name
        if lasting and fair and self.builder.transports.get(node.name) != transport:
            begin(lambda: lifecycle.remember_transport(self.site.kube, self.builder, node, transport))

    def choose(self, node: NodePlan) -> PodView:
        """The node's pod, as soon as it has a host; of several one of those that are ready."""
        lasting = bool(self.site.settings.builder_name)
        if node.replicas == 1 and not lasting:
            return self.boot.scheduled(node)
        pods = self.boot.electable(node) if lasting else self.boot.ready(node)
        if node.replicas == 1 and len(pods) == 1:
            return pods[0]
        return self.elect(node, pods)

    def elect(self, node: NodePlan, pods: Sequence[PodView]) -> PodView:
        """One of several pods, by what the builder balances by; the log says which and why."""
        by_name = {pod.name: pod for pod in pods}
        if node.loadbalance is LoadBalance.RANDOM:
            import secrets  # with random and hashing, a millisecond that few builds need

            chosen, why = by_name[secrets.choice(sorted(by_name))], "at random"
        else:
            from ci_buildx.job import stickiness

            key = stickiness.key(self.site.settings, node.platforms, self.site.env)
            chosen, why = by_name[balance.choose(key, by_name)], f"by the sticky key {key!r}"
        self.phase.say(balance.explain(chosen, self.boot.pods(node), why))
        return chosen

    def race(self, node: NodePlan, pod: PodView) -> Winner[Control]:
        """Race the transports while the pod comes up; what is known of the pod ends the race, too."""
        over = threading.Event()

        def watch() -> None:
            try:
                self.boot.watch(node, pod.name, over)
            finally:
                over.set()

        watched = begin(watch)
        ways = self.ways(node)
        candidates = ways.candidates(pod, lambda: self.boot.pod(pod.name))
        if len(candidates) > 1:
            # One that waits for the import would seem slow, and the next would join in for nothing.
            load_grpc()
        if _LOG.is_on:
            order = ", ".join(f"{one.name} after {one.delay} s" for one in candidates)
            _LOG.debug("pod %s on node %s is asked by %s", pod.name, pod.host, order)
        try:
            winner = race.connect(
                candidates,
                answer=ways.answer,
                deadline=self.boot.deadline,
                stop=over,
                discard=Control.close,
                subject=pod.name,
            )
            return ways.prefer_direct(self.boot.pod(pod.name) or pod, winner)
        except TransportError:
            if self.site.stop.is_set():
                raise Stopped from None
            if watched.error is not None:
                raise watched.error from None
            raise
        finally:
            over.set()

    def ways(self, node: NodePlan) -> Ways:
        """How the node's pods are reached."""
        known = self.builder.transports.get(node.name, "")
        return Ways(kube=self.site.kube, keys=self.builder.keys, chosen=self.site.settings.transport, known=known)
