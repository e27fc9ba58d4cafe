"""Nodes that are reserved or cordoned: native where that is tolerated, and named with the cure where it is not."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.kube.client import KubeClient
from devcluster import layout
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration.build.held import BOTH, RECORDS_MACHINE

TAINTS = (
    {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},
    {"key": "tests.kube-builder.dev/reserved", "effect": "NoSchedule"},
)


@contextmanager
def changed(kube: KubeClient, **spec: Any) -> Iterator[str]:
    """The arm64 node with another spec, for a while; it is nobody else's until it is as it was before."""
    name = next(node.name for node in layout.cluster().nodes if node.architecture == "arm64")
    path = f"/api/v1/nodes/{name}"
    found = kube.get(path)["spec"]
    before = {key: found.get(key) for key in spec}
    kube.patch(path, {"spec": spec})
    try:
        yield name
    finally:
        kube.patch(path, {"spec": before})


@pytest.fixture
def reserved(kube: KubeClient) -> Iterator[str]:
    """The name of the arm64 node while it has the taint that GKE gives to such nodes, and one more."""
    with changed(kube, taints=[dict(one) for one in TAINTS]) as name:
        yield name


def plan(product: Product, context: Path, *options: str) -> str:
    """What `--print plan` says of linux/arm64."""
    shown = product.build("--print", "plan", "--platform", BOTH, *options, str(context))
    assert shown.code == 0, shown.stderr
    reasons = " ".join(node["reason"] for node in json.loads(shown.stdout)["nodes"])
    return reasons.partition("linux/arm64: ")[2]


def test_a_reserved_node_is_named_and_what_is_advised_makes_it_native(
    product: Product, context: Path, builders: Builders, reserved: str
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    why = plan(product, context)
    assert why.startswith(f"emulated on amd64: cluster node {reserved} is reserved by taint ")
    advised = re.search(r"tolerate it with (.+)", why)
    assert advised, why
    options = shlex.split(advised[1])
    assert plan(product, context, "--driver-opt", "tolerations=operator=Exists") == "native on 1 node"
    one_of_two = f'"tolerations=key={TAINTS[0]["key"]},operator=Exists"'
    assert plan(product, context, "--driver-opt", one_of_two).startswith("emulated on amd64: ")
    run = product.build("--platform", BOTH, *options, "-o", "out", str(context))
    assert run.code == 0, run.stderr
    assert "linux/arm64: native on 1 node" in run.stderr
    assert re.search(rf"pod \S+-arm64-\S+ on node {reserved} answered", run.stderr), run.stderr
    assert (product.cwd / "out/linux_arm64/machine").read_text() == "aarch64\n"
    assert builders.left() == []


def test_a_cordoned_node_is_named(product: Product, context: Path, kube: KubeClient) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    with changed(kube, unschedulable=True) as name:
        assert plan(product, context) == f"emulated on amd64: the arm64 nodes are cordoned ({name})"
    assert plan(product, context) == "native on 1 node"
