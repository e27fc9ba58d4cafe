"""Builders as `ls` and `inspect` show them, without a cluster."""

from __future__ import annotations

from typing import Any

from ci_buildx.builder.builder import BuilderLocation, Lifetime, Workload
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import PodView
from ci_buildx.buildkit.messages import GcPolicy, Worker
from ci_buildx.manage.survey import BuilderView, ReplicaStatus, ReplicaView
from ci_buildx.model import platform

AMD64 = ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/386")
ARM64 = ("linux/arm64", "linux/arm/v7", "linux/arm/v6")


def platforms(*names: str) -> Any:
    return tuple(platform.parse_platform(name) for name in names)


def seat(
    pod: str, *, named: tuple[str, ...] = (), runs: tuple[str, ...] = (), status: ReplicaStatus = ReplicaStatus.RUNNING
) -> ReplicaView:
    node = StoredNode(
        kind=Workload.DEPLOYMENT,
        plan=NodePlan(name="kube0", architecture=None, platforms=platforms(*named)),
        driver_opts={"namespace": "buildkit"},
    )
    worker = Worker("w", platforms(*runs), {"a": "b"}, "v0.34.2", (GcPolicy(keep_duration=48 * 3600 * 10**9),))
    view = PodView(name=pod, namespace="buildkit", node="kube0", host="node-1")
    return ReplicaView(node=node, pod=view, status=status, workers=(worker,) if runs else ())


def surveyed(*seats: ReplicaView) -> BuilderView:
    location = BuilderLocation(name="kube", namespace="buildkit", exclusive=False, lifetime=Lifetime.BUILDER)
    return BuilderView(record=StoredBuilder(location=location, nodes=(seats[0].node,)), seats=seats)
