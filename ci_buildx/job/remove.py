"""Removing a job's builder by its name: what the clean-up steps of the CI systems do."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ci_buildx.builder.builder import Location
from ci_buildx.builder.teardown import teardown
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings

_LATE = 1.0
"""Seconds in which a namespace may still appear whose creator was killed while the request was under way."""


def run(cluster: ClusterSettings, name: str, *, env: Mapping[str, str], namespace: str = "") -> bool:
    """Remove the builder ``name`` of a job of unknown fate: in ``namespace``, or in one of its own where none is named.

    Returns whether there was one. Raises TeardownError if something stays.
    """
    location = Location(name=name, namespace=namespace or name, exclusive=not namespace)
    with KubeClient(config.load(cluster, env=env)) as kube:
        report = teardown(kube, location, deadline=time.monotonic() + TEARDOWN_TIME, settle=_LATE, own=True)
    report.check()
    return bool(report.removed)
