"""Groups of targets that must be built in the same pod, and the folders that targets share there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ci_buildx.bake.jobs import TargetJob
from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder.plan import Plan

if TYPE_CHECKING:
    from ci_buildx.build.connect import NodeConnection
    from ci_buildx.build.shared_folders import SharedFolders


def group_linked(jobs: Iterable[TargetJob]) -> list[list[TargetJob]]:
    """Return the targets in groups that are linked by contexts, directly or by others; in the order of ``jobs``."""
    listed = list(jobs)
    group = {job.name: job.name for job in listed}
    for job in listed:
        for other in job.contexts.values():
            old, new = group[other], group[job.name]
            group = {name: new if one == old else one for name, one in group.items()}
    found: dict[str, list[TargetJob]] = {}
    for job in listed:
        found.setdefault(group[job.name], []).append(job)
    return list(found.values())


class PodFolders:
    """The folders that targets share, by pod; each pod's sessions are opened when its first target begins.

    Thread-safe. ``undo`` closes the sessions. ``several``: targets are spread over the pods of a node.
    """

    def __init__(
        self,
        jobs: Sequence[TargetJob],
        plans: Mapping[str, Plan],
        site: BuildRun,
        undo: ExitStack,
        *,
        several: bool,
    ) -> None:
        self._jobs = jobs
        self._plans = plans
        self._site = site
        self._undo = undo
        self._several = several
        self._lock = threading.Lock()
        self._pods: dict[str, SharedFolders] = {}

    def open(self, connection: NodeConnection) -> SharedFolders:
        """Return the folders that are shared in a pod."""
        from ci_buildx.build.shared_folders import open_shared_folders

        with self._lock:
            if connection.pod not in self._pods:
                name, site = connection.node.name, self._site
                there = [job for job in self._jobs if name in {node.name for node in self._plans[job.name].nodes}]
                builds = [job.settings.build for job in there]
                opened = open_shared_folders(connection, builds, site.env, site.display, several=self._several)
                self._pods[connection.pod] = self._undo.enter_context(opened)
            return self._pods[connection.pod]
