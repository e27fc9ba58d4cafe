"""Removing a builder by its name: what `rm` and the clean-up steps of the CI systems do."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ci_buildx.builder import lifecycle
from ci_buildx.builder.builder import Location
from ci_buildx.errors import InputError
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings


def run(
    cluster: ClusterSettings, name: str, *, env: Mapping[str, str], namespace: str = "", missing_ok: bool = False
) -> bool:
    """Remove the builder ``name``, in a ``namespace`` that is not its own where one is named.

    Returns whether there was one. Raises InputError if there is none and that is not ok, TeardownError if something
    stays.
    """
    with KubeClient(config.load(cluster, env=env)) as kube:
        try:
            location = (
                Location(name=name, namespace=namespace, exclusive=False) if namespace else lifecycle.find(kube, name)
            )
        except InputError:
            if missing_ok:
                return False
            raise
        report = lifecycle.teardown(kube, location, deadline=time.monotonic() + TEARDOWN_TIME)
    report.check()
    return bool(report.removed)


def _place(kube: KubeClient, name: str, namespace: str) -> Location:
    return Location(name=name, namespace=namespace, exclusive=False) if namespace else lifecycle.find(kube, name)
