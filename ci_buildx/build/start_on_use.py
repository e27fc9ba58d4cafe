"""Starts the stopped nodes of a lasting builder when a build uses it, and queries unknown platforms."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.context import origin, sticky_key
from ci_buildx.build.dialer import PodDialer
from ci_buildx.builder import plan as builder_plan
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import create
from ci_buildx.builder.lifecycle.records import StoredBuilder
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.builder.pods import PodView
from ci_buildx.errors import InputError, LateInputError, TransportError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.display import BuildDisplay, DisplayPhase
from ci_buildx.runtime.signals import run_all, start_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class BootWakeup:
    """Boots a lasting builder's nodes. ``timeout`` (s) bounds the wait for all of them; ``stop`` ends it.

    ``outdated`` pods do not count, as they are about to be replaced.
    """

    kube: KubeClient
    builder: Builder
    display: BuildDisplay
    timeout: float
    stop: threading.Event
    outdated: frozenset[str] = frozenset()

    def boot_nodes(self, nodes: Sequence[NodePlan]) -> dict[str, tuple[Platform, ...]]:
        """Wait until all pods of ``nodes`` are ready; record and return the platforms that each node runs, by name.

        Raises BootError with Kubernetes' reason, TransportError.
        """
        deadline = time.monotonic() + self.timeout
        with (
            self.display.begin_phase("booting builder") as phase,
            Boot(
                self.kube,
                self.builder,
                deadline=deadline,
                explain=phase.add_output,
                stop=self.stop,
                outdated=self.outdated,
            ) as boot,
        ):
            said = run_all([partial(self._boot_node, boot, phase, node) for node in nodes], stop=self.stop)
        return {node.name: runs for node, runs in zip(nodes, said, strict=True)}

    def _boot_node(self, boot: Boot, phase: DisplayPhase, node: NodePlan) -> tuple[Platform, ...]:
        start = time.monotonic()
        pods = boot.wait_until_ready(node)
        runs = self._ask(boot, node, pods[0])
        seconds = time.monotonic() - start
        if runs != node.runs:
            create.record_platforms(self.kube, self.builder, node, runs)
        names = ", ".join(f"{pod.name} on node {pod.host}" for pod in pods)
        phase.add_output(f"{node.name}: {names}: ready after {seconds:.1f} s")
        return runs

    def _ask(self, boot: Boot, node: NodePlan, pod: PodView) -> tuple[Platform, ...]:
        way = PodDialer(kube=self.kube, keys=self.builder.keys, known=self.builder.transports.get(node.name, ""))
        over = threading.Event()

        def watch() -> None:
            try:
                boot.watch(node, pod.name, over)
            finally:
                over.set()

        watched = start_thread(watch)
        try:
            return way.ask(pod, boot.deadline, lambda control: control.platforms, stop=over)
        except TransportError as failure:
            if over.is_set():  # by the watch, whose error is stored a moment later
                watched.done.wait()
            if watched.error is not None:
                raise watched.error from None
            raise way.explain(pod, failure) from None
        finally:
            over.set()


def start_needed_nodes(site: BuildRun, record: StoredBuilder) -> Builder:
    """Return a lasting builder narrowed to the nodes that this build needs, starting those that are stopped.

    Raises InputError if it has no nodes or none for a platform; LateInputError if that became known only after nodes
    were started; BootError for nodes that had to be queried first.
    """
    secret = create.read_usable_secret(site.kube, record, warn=site.display.warn)
    builder = record.make_builder(secret)
    origin.check_trust(builder, site.env)
    platforms = site.settings.build.platforms
    unknown = list_undecided_nodes(builder.plan.nodes, platforms)
    started = False
    if unknown:
        started = start_nodes(site.kube, record, unknown, site.display)
        timeout = site.settings.builder.timeout if builder.timeout is None else builder.timeout
        bell = BootWakeup(kube=site.kube, builder=builder, display=site.display, timeout=timeout, stop=site.stop)
        builder = add_platforms(builder, bell.boot_nodes(unknown))
    try:
        narrowed = builder_plan.narrow(
            builder.plan, platforms, key=sticky_key.make_sticky_key(site.settings, (), site.env)
        )
    except InputError as error:
        if started:  # pods have been started, which exit code 2 rules out
            raise LateInputError(error) from error
        raise
    names = {node.name for node in unknown}
    start_nodes(site.kube, record, [node for node in narrowed.nodes if node.name not in names], site.display)
    return replace(builder, plan=narrowed)


def start_nodes(kube: KubeClient, record: StoredBuilder, plans: Sequence[NodePlan], display: BuildDisplay) -> bool:
    """Start those of the nodes that are stopped and report them; return whether there were any."""
    stopped = [node for node in map(record.find_node, (plan.name for plan in plans)) if node.stopped]
    if stopped:
        create.scale_nodes(kube, record, stopped, None)
        display.note(f"starting builder {record.name}", ", ".join(f"{node.name} was stopped" for node in stopped))
    return bool(stopped)


def add_platforms(builder: Builder, runs: dict[str, tuple[Platform, ...]]) -> Builder:
    """Return the builder with the platforms that its nodes have reported."""
    nodes = tuple(replace(node, runs=runs.get(node.name, node.runs)) for node in builder.plan.nodes)
    return replace(builder, plan=Plan(nodes=nodes))


def list_undecided_nodes(nodes: Sequence[NodePlan], platforms: Sequence[Platform]) -> list[NodePlan]:
    """Return the nodes that must be queried before ``platforms`` can be assigned to nodes; [] if nothing is open."""
    named = {platform for node in nodes for platform in node.platforms}
    if set(platforms) <= named:
        return []
    if len(nodes) == 1 and all(nodes[0].native in (None, one.node_architecture) for one in platforms):
        return []
    return [node for node in nodes if not node.runs]
