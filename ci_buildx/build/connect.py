"""The ways to the buildkitd of one pod, and its first answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TypeVar

from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder import balance, plan
from ci_buildx.builder.boot.observation import UNSCHEDULABLE
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import ADDRESS_LABEL, PORT, SERVER_NAME, Builder, ClientKeys
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import CONTAINER, PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.grpc import load_grpc
from ci_buildx.errors import BootError, BuildkitError, Stopped, TransportError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.display import DisplayPhase
from ci_buildx.runtime.threads import run_all, start_thread
from ci_buildx.settings.builder import LoadBalance
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport import endpoint as transport_endpoint
from ci_buildx.transport import race
from ci_buildx.transport import race as transport_race
from ci_buildx.transport.endpoint import PodAddress, PodEndpoint
from ci_buildx.transport.race import EARLY, AttemptSchedule, PodProgress, TransportCandidate, TransportWinner

T = TypeVar("T")

_LOG = debug.get_log("build")
ANSWER_TIME = 5.0
"""Seconds for one answer."""
HEAD_START = 0.1
"""Seconds between a transport and the next slower one."""
CHANGE_TIME = 0.1
"""Seconds for the pod's own address to accept a connection after a tunnel has won: its kernel does, however busy."""
_SECOND_ANSWER_TIME = 2.0
"""Seconds for the first answer over that connection."""
_BOOT_TIME = 3.0
"""Seconds in which a pod usually has come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDialer:
    """How a pod is reached: ``chosen`` by the user, or raced; ``known`` is what won an earlier race, "" if none did."""

    kube: KubeClient
    keys: ClientKeys
    chosen: TransportChoice = TransportChoice.AUTO
    known: str = ""

    def list_candidates(self, pod: PodView, look: Callable[[], PodView | None]) -> list[TransportCandidate]:
        """The transports to try, in the order in which they start. ``look`` gives the pod as it is at each try."""

        def address() -> PodAddress:
            now = look() or pod
            return PodAddress(namespace=pod.namespace, name=pod.name, ip=now.ip, container=CONTAINER, port=PORT)

        def stage() -> PodProgress:
            now = look() or pod
            return PodProgress.READY if now.ready else PodProgress.RUNNING if now.running else PodProgress.UNKNOWN

        # The tunnels are imported by those who need them.
        def forward() -> AbstractContextManager[PodEndpoint]:
            from ci_buildx.transport import tunnel

            forwards.take_turn()
            return tunnel.open_port_forward(self.kube, address())

        def enter() -> AbstractContextManager[PodEndpoint]:
            from ci_buildx.transport import tunnel

            execs.take_turn()
            return tunnel.open_exec(self.kube, address())

        # Each knock by exec starts a process in the pod: while it boots, that would slow it down.
        execs_early = EARLY if self.chosen is TransportChoice.EXEC else None
        forwards, execs = AttemptSchedule(stage), AttemptSchedule(stage, blind=None, early=execs_early)
        everything = (
            TransportCandidate(TransportChoice.DIRECT, lambda: transport_endpoint.open_direct(address())),
            TransportCandidate(TransportChoice.PORT_FORWARD, forward, HEAD_START),
            TransportCandidate(TransportChoice.EXEC, enter, 2 * HEAD_START if pod.ready else _BOOT_TIME),
        )
        if self.chosen is not TransportChoice.AUTO:
            return [replace(one, delay=0.0) for one in everything if one.name == self.chosen]
        if not self.known:
            return list(everything)
        return [replace(one, delay=0.0 if one.name == self.known else max(one.delay, HEAD_START)) for one in everything]

    def prefer_direct(self, pod: PodView, winner: TransportWinner[Control]) -> TransportWinner[Control]:
        """Change over from a tunnel that won to the pod's own address, if that answers at once.

        A tunnel needs no address and no idle machine to win; the build's context then takes it twice to four times as
        long. Where nothing answers at the address this costs ``CHANGE_TIME`` at most, and nothing where a tunnel has
        won a race before.
        """
        ip = _check_ip(winner.value.labels.get(ADDRESS_LABEL, "")) or pod.ip
        raced = self.chosen is TransportChoice.AUTO and self.known in ("", TransportChoice.DIRECT)
        if not (raced and ip) or winner.name == TransportChoice.DIRECT:
            return winner
        address = PodAddress(namespace=pod.namespace, name=pod.name, ip=ip, container=CONTAINER, port=PORT)
        with ExitStack() as undo:
            try:
                endpoint = undo.enter_context(transport_endpoint.open_direct(address, timeout=CHANGE_TIME))
                control = self.dial(endpoint)
                undo.callback(control.close)
                # Not for its workers, which it probes each time: what they are is known already.
                control.read_version(_SECOND_ANSWER_TIME)
            except (TransportError, BuildkitError) as failure:
                _LOG.debug("pod %s: %s stays, direct does not answer: %s", pod.name, winner.name, failure)
                return winner
            _LOG.debug("pod %s: direct takes over from %s", pod.name, winner.name)
            control.platforms, control.labels = winner.value.platforms, winner.value.labels
            winner.value.close()
            start_thread(winner.close)
            return TransportWinner(TransportChoice.DIRECT, endpoint, control, undo.pop_all())

    def ask(
        self, pod: PodView, deadline: float, work: Callable[[Control], T], *, stop: threading.Event | None = None
    ) -> T:
        """Connect to a running pod until ``deadline`` (a time.monotonic() value) or ``stop``; do ``work`` over it.

        Raises TransportError if it cannot be reached, and what ``work`` raises.
        """
        # A candidate that waits for the import would seem slow, and the next would join in for nothing.
        load_grpc()
        candidates = self.list_candidates(pod, lambda: pod)
        winner = race.race_transports(
            candidates, answer=self.answer, deadline=deadline, stop=stop, discard=Control.close, subject=pod.name
        )
        with winner, winner.value as control:
            return work(control)

    def answer(self, endpoint: PodEndpoint) -> Control:
        """A Control whose buildkitd has answered."""
        control = self.dial(endpoint)
        try:
            control.list_workers(ANSWER_TIME)
        except BaseException:
            control.close()
            raise
        return control

    def dial(self, endpoint: PodEndpoint) -> Control:
        """A Control that connects with its first call."""
        keys = self.keys
        credentials = (keys.ca, keys.certificate, keys.key.reveal()) if endpoint.secure else None
        return Control(endpoint.target, credentials=credentials, server_name=SERVER_NAME)


def _check_ip(text: str) -> str:
    """``text`` if it is an IP address, else "": it is buildkitd's word."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return text
    return ""


_ANOTHER_NODE = (
    "add a node for it by kube-builder create --append --platform: one of that architecture, "
    "or one with driver-opt qemu.install=true"
)


def _refuse_renewal() -> NodeConnection:
    raise TransportError("the connection was lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnection:
    """A node's buildkitd that has answered, in ``pod``."""

    node: NodePlan
    pod: str
    winner: TransportWinner[Control]
    renew: Callable[[], NodeConnection] = _refuse_renewal
    """Connects again to the same pod, after this connection broke. Raises as :func:`connect_nodes` does."""

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
def connect_nodes(site: BuildRun, builder: Builder) -> Iterator[tuple[Boot, list[NodeConnection]]]:
    """Wait for the builder's pods and connect to one of each node, all nodes at once; closed at the end.

    A node that cannot be scheduled is emulated by another one where the plan left that to the scheduler.
    Raises BootError where a pod cannot start, TransportError where none can be reached.
    """
    with ExitStack() as undo:
        with site.phases.measure("boot"), site.display.begin_phase("booting builder") as phase:
            timeout = site.settings.builder.timeout if builder.timeout is None else builder.timeout
            deadline = time.monotonic() + timeout
            fresh = not site.settings.builder_name
            boot = undo.enter_context(
                Boot(site.kube, builder, deadline=deadline, explain=phase.add_output, stop=site.stop, fresh=fresh)
            )
            harbour = _NodeConnector(site=site, builder=builder, boot=boot, phase=phase, undo=undo)
            connections = harbour.reach_all()
        yield boot, connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeConnector:
    """One boot: what all nodes share while they are waited for."""

    site: BuildRun
    builder: Builder
    boot: Boot
    phase: DisplayPhase
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
            one.check_platforms(lasting=self.builder.location.lasting)
        return connections

    def try_reach(self, node: NodePlan) -> NodeConnection | BootError:
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
        find.remove_failed_node(self.site.kube, self.builder, node)
        for kept in changed.nodes:
            self.phase.add_output(kept.reason)
            if kept not in planned.nodes and self.site.settings.keep:
                find.update_node_annotations(self.site.kube, self.builder, kept)
        return changed

    def reach(self, node: NodePlan) -> NodeConnection:
        """Choose a pod of the node and connect to it, knocking while it starts."""
        start = time.monotonic()
        pod = self.choose(node)
        connection = self.join(node, pod)
        winner = connection.winner
        self.boot.record_answer(pod.name)
        self.remember(node, pod, winner.name)
        seconds = time.monotonic() - start
        self.phase.add_output(f"pod {pod.name} on node {pod.host} answers by {winner.name} after {seconds:.1f} s")
        return connection

    def join(self, node: NodePlan, pod: PodView) -> NodeConnection:
        """A connection to the pod, by whichever transport answers."""
        winner = self.race(node, pod)

        def renew() -> NodeConnection:
            winner.value.close()
            return self.join(node, self.boot.find_pod(pod.name) or pod)

        connection = NodeConnection(node=node, pod=pod.name, winner=winner, renew=renew)
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
            start_thread(lambda: find.remember_transport(self.site.kube, self.builder, node, transport))

    def choose(self, node: NodePlan) -> PodView:
        """The node's pod, as soon as it has a host; of several one of those that are ready."""
        lasting = bool(self.site.settings.builder_name)
        if node.replicas == 1 and not lasting:
            return self.boot.wait_until_scheduled(node)
        pods = self.boot.wait_until_electable(node) if lasting else self.boot.wait_until_ready(node)
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
            from ci_buildx.build.context import sticky_key

            key = sticky_key.make_sticky_key(self.site.settings, node.platforms, self.site.env)
            chosen, why = by_name[balance.choose(key, by_name)], f"by the sticky key {key!r}"
        self.phase.add_output(balance.explain(chosen, self.boot.list_pods(node), why))
        return chosen

    def race(self, node: NodePlan, pod: PodView) -> TransportWinner[Control]:
        """Race the transports while the pod comes up; what is known of the pod ends the race, too."""
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
            # One that waits for the import would seem slow, and the next would join in for nothing.
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
        except TransportError:
            if self.site.stop.is_set():
                raise Stopped from None
            if watched.error is not None:
                raise watched.error from None
            raise
        finally:
            over.set()

    def make_dialer(self, node: NodePlan) -> PodDialer:
        """How the node's pods are reached."""
        known = self.builder.transports.get(node.name, "")
        return PodDialer(kube=self.site.kube, keys=self.builder.keys, chosen=self.site.settings.transport, known=known)
