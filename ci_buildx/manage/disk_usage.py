"""The builders' build caches: list and prune them. Each replica has its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from ci_buildx.build.connect import PodDialer
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.lifecycle.records import StoredNode
from ci_buildx.builder.pods import PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.messages import DiskUsageRequest, PruneRequest, UsageRecord
from ci_buildx.errors import InputError
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.manage import survey
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model.record import dataclass

_LOOK_TIME = 60.0
"""Seconds for a buildkitd to compute its disk usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """One record in the cache of one pod."""

    pod: str
    record: UsageRecord


def read_usage(
    target: BuilderTarget, filters: tuple[str, ...], *, env: Mapping[str, str], timeout: float
) -> list[CacheUsage]:
    """Return the cache records of all running pods of a builder.

    ``timeout`` (s) bounds connecting to each pod. Raises InputError if no pod runs, TransportError, BuildkitError.
    """
    request = DiskUsageRequest(filters)
    with _list_running(target, env) as pods:

        def ask(pod: PodView, way: PodDialer) -> list[CacheUsage]:
            found = way.ask(
                pod, time.monotonic() + timeout, lambda control: control.read_disk_usage(request, _LOOK_TIME)
            )
            return [CacheUsage(pod=pod.name, record=record) for record in found]

        return [one for part in survey.run_at_once([partial(ask, *pair) for pair in pods]) for one in part]


def prune_caches(
    target: BuilderTarget,
    request: PruneRequest,
    *,
    env: Mapping[str, str],
    timeout: float,
    tell: Callable[[CacheUsage], None],
) -> None:
    """Prune the caches of all running pods of a builder.

    ``tell`` is called with each record as it is deleted, from several threads. ``timeout`` (s) bounds connecting to
    each pod. Raises InputError if no pod runs, TransportError, BuildkitError.
    """
    with _list_running(target, env) as pods:

        def clear(pod: PodView, way: PodDialer) -> None:
            def work(control: Control) -> None:
                for record in control.prune(request):
                    tell(CacheUsage(pod=pod.name, record=record))

            way.ask(pod, time.monotonic() + timeout, work)

        list(survey.run_at_once([partial(clear, *pair) for pair in pods]))


@contextmanager
def _list_running(target: BuilderTarget, env: Mapping[str, str]) -> Iterator[list[tuple[PodView, PodDialer]]]:
    with KubeClient(config.load_cluster(target.cluster, env=env)) as kube:
        record = records.find_builder(kube, target.name, target.namespace)
        pods: list[tuple[StoredNode, PodView]] = survey.list_running_pods(kube, record)
        if not pods:
            fix = f"kube-builder inspect --bootstrap {record.name} starts it"
            raise InputError(f"no pod of builder {record.name!r} is running", fix=fix)
        builder = records.load_builder(kube, record)
        yield [(pod, survey.make_dialer(kube, builder, node)) for node, pod in pods]
