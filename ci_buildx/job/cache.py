"""What the builders' caches hold, and clearing them: every replica has its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from ci_buildx.builder import store
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.store import Node
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.messages import DiskUsageRequest, PruneRequest, UsageRecord
from ci_buildx.errors import InputError
from ci_buildx.job import survey
from ci_buildx.job.dial import Ways
from ci_buildx.job.target import Target
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass

_LOOK_TIME = 60.0
"""Seconds for a buildkitd to add up what its cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A record of the cache of one pod."""

    pod: str
    record: UsageRecord


def usage(target: Target, filters: tuple[str, ...], *, env: Mapping[str, str], timeout: float) -> list[Usage]:
    """What is in the caches of a builder's pods. Raises InputError if none runs, TransportError, BuildkitError."""
    request = DiskUsageRequest(filters)
    with _running(target, env) as pods:

        def ask(pod: PodView, way: Ways) -> list[Usage]:
            found = way.ask(pod, time.monotonic() + timeout, lambda control: control.disk_usage(request, _LOOK_TIME))
            return [Usage(pod=pod.name, record=record) for record in found]

        return [one for part in survey.at_once([partial(ask, *pair) for pair in pods]) for one in part]


def prune(
    target: Target, request: PruneRequest, *, env: Mapping[str, str], timeout: float, tell: Callable[[Usage], None]
) -> None:
    """Clear the caches of a builder's pods; ``tell`` hears of each record as it goes, from several threads."""
    with _running(target, env) as pods:

        def clear(pod: PodView, way: Ways) -> None:
            def work(control: Control) -> None:
                for record in control.prune(request):
                    tell(Usage(pod=pod.name, record=record))

            way.ask(pod, time.monotonic() + timeout, work)

        list(survey.at_once([partial(clear, *pair) for pair in pods]))


@contextmanager
def _running(target: Target, env: Mapping[str, str]) -> Iterator[list[tuple[PodView, Ways]]]:
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = store.find(kube, target.name, target.namespace)
        pods: list[tuple[Node, PodView]] = survey.running(kube, record)
        if not pods:
            fix = f"kube-builder inspect --bootstrap {record.name} starts it"
            raise InputError(f"no pod of builder {record.name!r} is running", fix=fix)
        builder = store.load(kube, record)
        yield [(pod, survey.ways(kube, builder, node)) for node, pod in pods]
