"""The `reap` command: remove leftovers of expired jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ci_buildx.build.builder_scope import TEARDOWN_TIME
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle import reap
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.errors import TeardownError
from ci_buildx.kube.client import make_kube_client
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

    With ``dry_run``, only return the names. ``warn`` is called with what could not be searched. Raises TeardownError
    that names the builders that stay and the reasons, after all have been tried.
    """
    with make_kube_client(cluster, env=env) as kube:
        swept = reap.reap_builders(kube, namespaces=namespaces, dry_run=dry_run)
    for note in swept.notes:
        warn(note)
    if swept.problems:
        told = "; ".join(f"{name}: {why}" for name, why in swept.problems.items())
        error = TeardownError(f"not removed: {told}", left=tuple(swept.problems))
        for name in swept.removed:
            error.add_note(f"removed {name}")
        raise error
    return list(swept.expired if dry_run else swept.removed)


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
