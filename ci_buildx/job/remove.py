"""Removing a builder by its name: what `rm` and the clean-up steps of the CI systems do."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ci_buildx.builder import lifecycle
from ci_buildx.builder.builder import Location
from ci_buildx.builder.teardown import teardown
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings

_LATE = 1.0
"""Seconds in which a namespace may still appear whose creator was killed while the request was under way."""


def run(
    cluster: ClusterSettings, name: str, *, env: Mapping[str, str], namespace: str = "", missing_ok: bool = False
) -> bool:
    """Remove the builder ``name``, in a ``namespace`` that is not its own where one is named.

    With ``missing_ok``, as after a job of unknown fate, it is there or nowhere; else it is looked for. Returns whether
    there was one. Raises InputError if there is none and that is not ok, TeardownError if something stays.
    """
    with KubeClient(config.load(cluster, env=env)) as kube:
        if missing_ok:
            location = Location(name=name, namespace=namespace or name, exclusive=not namespace)
        else:
            location = lifecycle.find(kube, name, namespace)
        deadline = time.monotonic() + TEARDOWN_TIME
        report = teardown(kube, location, deadline=deadline, settle=_LATE if missing_ok else 0.0)
    report.check()
    return bool(report.removed)
