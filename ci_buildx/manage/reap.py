"""The `reap` command: remove leftovers of expired jobs, and idle pods of elastic builders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

from ci_buildx.build.builder_scope import TEARDOWN_TIME
from ci_buildx.build.pod_choice import make_elastic_node
from ci_buildx.builder import labels
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.lifecycle import create, reap, records
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import read_pod
from ci_buildx.builder.pool import scaling
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import read_leases
from ci_buildx.builder.pool.scaling import select_removable
from ci_buildx.errors import KubeBuilderError, NotFound, TeardownError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.settings.values import ClusterSettings


def run_reap(
    cluster: ClusterSettings,
    *,
    env: Mapping[str, str],
    namespaces: Sequence[str] = (),
    dry_run: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Remove expired builders, including those inside ``namespaces``, and return their names.

    Also removes idle pods of the elastic builders in ``namespaces``; these are returned as ``pod NAME``. With
    ``dry_run``, only return the names. ``warn`` is called with what could not be searched. Raises TeardownError
    that names the builders that stay and the reasons, after all have been tried.
    """
    with make_kube_client(cluster, env=env) as kube:
        for place in namespaces:
            _warn_of_missing_namespace(kube, place, warn)
        swept = reap.reap_builders(kube, namespaces=namespaces, dry_run=dry_run)
        idle = [f"pod {name}" for place in namespaces for name in remove_idle_pods(kube, place, dry_run, warn)]
    for note in swept.notes:
        warn(note)
    if swept.problems:
        told = "; ".join(f"{name}: {why}" for name, why in swept.problems.items())
        error = TeardownError(f"not removed: {told}", left=tuple(swept.problems))
        for name in swept.removed:
            error.add_note(f"removed {name}")
        raise error
    return [*(swept.expired if dry_run else swept.removed), *idle]


def _warn_of_missing_namespace(kube: KubeClient, namespace: str, warn: Callable[[str], None]) -> None:
    """Warn of a namespace that does not exist: its lists are empty, not an error. Best effort."""
    try:
        kube.get(f"/api/v1/namespaces/{namespace}")
    except NotFound:
        warn(f"namespace '{namespace}' not found")
    except KubeBuilderError:
        return


def remove_idle_pods(kube: KubeClient, namespace: str, dry_run: bool, warn: Callable[[str], None]) -> list[str]:
    """Remove pods of elastic builders in ``namespace`` that were idle for longer than their idle-timeout.

    Returns the names of the pods. What fails for one builder is passed to ``warn``, and the others are tried.
    """
    removed: list[str] = []
    try:
        found = records.list_builders(kube, namespace).records
    except KubeBuilderError as failure:
        warn(f"idle pods in namespace {namespace} were not searched: {failure}")
        return removed
    for record in found:
        if not any(node.plan.scaling for node in record.nodes):
            continue
        try:
            builder = record.make_builder(create.read_secret(kube, record.location))
            for node in builder.plan.nodes:
                removed += _remove_idle_pods_of_node(kube, builder, node, dry_run=dry_run)
        except KubeBuilderError as failure:
            warn(f"idle pods of builder {record.name} in namespace {namespace} stay: {failure}")
    return removed


def _remove_idle_pods_of_node(kube: KubeClient, builder: Builder, node: NodePlan, *, dry_run: bool) -> Sequence[str]:
    elastic = make_elastic_node(builder, node)
    if elastic is None:
        return ()
    keeper = LeaseKeeper(kube, os.urandom(8).hex())
    marked = f"{builder.location.selector},{labels.NODE}={node.name}"
    pods = [read_pod(pod) for pod in kube.list(builder.location.make_core_path("pods"), labelSelector=marked)["items"]]
    view = read_leases(kube.list(elastic.node.path, labelSelector=elastic.node.selector)["items"])
    if dry_run:
        chosen = select_removable(elastic, pods, view, keeper.clock.read(), replicas=len(pods))
        return [pod.name for pod in chosen]
    return scaling.remove_idle_pods(kube, elastic, keeper, pods, view)


_LATE = 1.0
"""Seconds in which a namespace may still appear after its creator was killed during the request."""


def remove_job_builder(cluster: ClusterSettings, name: str, *, env: Mapping[str, str], namespace: str = "") -> bool:
    """Remove the builder ``name`` of a job of unknown fate, in ``namespace`` or, if "", in the builder's own.

    Returns whether the builder existed. Raises TeardownError if something stays.
    """
    location = BuilderLocation(name=name, namespace=namespace or name, exclusive=not namespace)
    with make_kube_client(cluster, env=env) as kube:
        report = teardown(kube, location, deadline=time.monotonic() + TEARDOWN_TIME, settle=_LATE, own=True)
    report.check()
    return bool(report.removed)
