"""What all objects of a builder are made from."""

from __future__ import annotations

from collections.abc import Mapping

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import BuilderSettings

NEWEST = (1, 34)
"""Stands for an API server whose version nothing depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSpec:
    """A builder before it is made.

    ``expires`` is RFC 3339. ``server`` is the API server's version. ``runner`` is the pod that the Jobs go with, where
    one owns them. ``cluster_ranges`` are the addresses of the cluster's pods and services.
    """

    identity: JobIdentity
    location: BuilderLocation
    settings: BuilderSettings
    expires: str
    server: tuple[int, int] = NEWEST
    runner: Mapping[str, str] | None = None
    cluster_ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadTraits:
    """What a workload makes of its pods.

    ``restart`` is their restartPolicy. ``grace_period`` (s) is given to buildkitd to end where the settings name
    none. ``drains``: builds under way are waited for first. ``claims``: a volume for the state, where one is wanted,
    comes from the workload's own claim template, named ``state``.
    """

    restart: str
    grace_period: int
    drains: bool
    claims: bool


# What a job builds is lost with its builder: there is nothing to save.
OF_JOB = WorkloadTraits(restart="Never", grace_period=5, drains=False, claims=False)
OF_DEPLOYMENT = WorkloadTraits(restart="Always", grace_period=300, drains=True, claims=False)
OF_STATEFUL_SET = WorkloadTraits(restart="Always", grace_period=300, drains=True, claims=True)
