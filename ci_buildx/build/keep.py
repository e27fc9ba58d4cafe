"""A builder for later builds of the same job: created, awaited and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TextIO

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.builder_scope import open_builder
from ci_buildx.build.connect import NodeConnection, connect_nodes
from ci_buildx.build.hidden import hide_in, secrets_of
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.errors import KubeBuilderError
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress import display
from ci_buildx.runtime.phases import PhaseTimes
from ci_buildx.runtime.signals import SignalHandler
from ci_buildx.settings.values import Settings

_ASKED = 10.0
"""Seconds for a buildkitd that has already answered to list its platforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """One node of the builder: the platforms that it builds for, and its ``buildkit`` version."""

    name: str
    platforms: tuple[Platform, ...]
    buildkit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBuilder:
    """A running builder."""

    name: str
    namespace: str
    flags: tuple[str, ...]
    nodes: tuple[RunningNode, ...]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that the builder builds for, without duplicates."""
        return tuple(dict.fromkeys(platform for node in self.nodes for platform in node.platforms))


def run_setup_builder(
    settings: Settings,
    *,
    env: Mapping[str, str],
    display_stream: TextIO,
    identity: JobIdentity,
    announce: Callable[[BuilderLocation], None],
) -> RunningBuilder:
    """Create the builder and wait until every node answers; if one does not, the builder is removed.

    ``announce`` is called with the builder's location before any of its objects exists. Raises the KubeBuilderError
    tree and Interrupted.
    """
    settings = replace(settings, keep=True)
    cluster = config.load_cluster(settings.cluster, env=env)
    hidden = secrets_of(settings.build, env)
    shown = display.open_display(settings.build.progress, display_stream, env=env, hidden=hidden)
    try:
        with SignalHandler() as interrupts, KubeClient(cluster) as kube:
            site = BuildRun(
                settings=settings, kube=kube, display=shown, env=env, stop=interrupts.stop, phases=PhaseTimes()
            )
            with open_builder(site, interrupts, identity, announce) as builder:
                kept = interrupts.run(lambda: _wait_for_nodes(site, builder), settle=0)
    except BaseException as error:
        hide_in(error, shown.masked)
        shown.cancel()
        shown.close(error)
        raise
    shown.close()
    return kept


def _wait_for_nodes(site: BuildRun, builder: Builder) -> RunningBuilder:
    with connect_nodes(site, builder) as (_, connections):
        if not connections:
            raise KubeBuilderError(f"builder {builder.name} has no node")
        return RunningBuilder(
            name=builder.name,
            namespace=builder.namespace,
            flags=site.settings.builder.buildkitd_flags,
            nodes=tuple(_describe_node(one) for one in connections),
        )


def _describe_node(connection: NodeConnection) -> RunningNode:
    workers = connection.control.list_workers(_ASKED)
    native = tuple(platform for worker in workers for platform in worker.platforms)
    return RunningNode(
        name=connection.node.name,
        platforms=tuple(connection.node.platforms) or tuple(dict.fromkeys(native)),
        buildkit=next((worker.version for worker in workers), ""),
    )
