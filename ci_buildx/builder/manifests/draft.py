"""Specifications from which all objects of a builder are made."""

from __future__ import annotations

from collections.abc import Mapping

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.kube.client import NEWEST_SERVER
from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import BuilderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSpec:
    """A builder before it is created.

    ``expires`` is RFC 3339. ``server`` is the API server's version (major, minor). ``runner`` is a reference to the pod
    that owns the Jobs, if any. ``cluster_ranges`` are the CIDRs of the cluster's pods and services. ``replacements`` is
    how many pods a job's builder may lose, in each place of a node, before the cluster starts no other.
    """

    identity: JobIdentity
    location: BuilderLocation
    settings: BuilderSettings
    expires: str
    server: tuple[int, int] = NEWEST_SERVER
    runner: Mapping[str, str] | None = None
    cluster_ranges: tuple[str, ...] = ()
    replacements: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadTraits:
    """How a kind of workload handles its pods.

    ``restart`` is their restartPolicy. ``grace_period`` (s) is buildkitd's time to end if the settings name none.
    ``drains``: pods end only after builds under way. ``claims``: a claimed volume for the state comes from the
    workload's own claim template, named ``state``.
    """

    restart: str
    grace_period: int
    drains: bool
    claims: bool


# A job's builds are lost with their builder: there is nothing to save.
OF_JOB = WorkloadTraits(restart="Never", grace_period=5, drains=False, claims=False)
OF_DEPLOYMENT = WorkloadTraits(restart="Always", grace_period=300, drains=True, claims=False)
OF_STATEFUL_SET = WorkloadTraits(restart="Always", grace_period=300, drains=True, claims=True)
