"""Lasting builders on a cluster in memory."""

from __future__ import annotations

import io
from typing import Any

from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.manage.create import CreateRequest, run_create
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import ProgressMode
from tests.unit.memory_cluster import MemoryCluster

PODS = "/api/v1/namespaces/ci/pods"


def make_target(cluster: MemoryCluster, name: str = "kube", namespace: str = "") -> BuilderTarget:
    """The builder that a command names."""
    return BuilderTarget(name=name, namespace=namespace, cluster=cluster.settings)


def create_builder(
    cluster: MemoryCluster,
    *,
    shown: io.StringIO | None = None,
    env: dict[str, str] | None = None,
    node: str = "",
    name: str = "kube",
    append: bool = False,
    bootstrap: bool = False,
    use: bool = False,
    platforms: Any = (),
    **settings: Any,
) -> str:
    """Run `create`, by default for a builder ``kube`` in namespace ``ci``; return its name."""
    order = NodeRequest(node=node, platforms=platforms, settings=BuilderSettings(**settings))
    creation = CreateRequest(
        name=name, order=order, append=append, bootstrap=bootstrap, use=use, progress=ProgressMode.PLAIN
    )
    return run_create(creation, cluster.settings, env=env or {}, display_stream=shown or io.StringIO())
