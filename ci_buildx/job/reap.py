"""Removing what expired jobs left: what `reap` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ci_buildx.builder import reap
from ci_buildx.errors import TeardownError
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings


def run(
    cluster: ClusterSettings,
    *,
    env: Mapping[str, str],
    namespaces: Sequence[str] = (),
    dry_run: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Remove the expired builders, with ``namespaces`` those inside them, too; their names.

    ``warn`` hears where it could not look. Raises TeardownError that says which stay and why, after all have been
    tried.
    """
    with KubeClient(config.load(cluster, env=env)) as kube:
        swept = reap.sweep(kube, namespaces=namespaces, dry_run=dry_run)
    for note in swept.notes:
        warn(note)
    if swept.problems:
        told = "; ".join(f"{name}: {why}" for name, why in swept.problems.items())
        error = TeardownError(f"not removed: {told}", left=tuple(swept.problems))
        for name in swept.removed:
            error.add_note(f"removed {name}")
        raise error
    return list(swept.expired if dry_run else swept.removed)
