"""Lasting builders in tests: the product with the rights of docs/rbac, in namespaces of the test's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from tests.e2e.product import Product, Run

PATIENCE = 90.0
CONFIG = "KUBE_BUILDER_BUILDKITD_CONFIG"


@dataclass(frozen=True, kw_only=True)
class Shop:
    """One namespace with builders in it, seen by an administrator."""

    kube: KubeClient
    product: Product
    namespace: str

    def create(self, *options: str) -> Run:
        """`kube-builder create` with what the devcluster's registries need."""
        configured = self.product.with_env(**{CONFIG: str(self.product.config)})
        return configured.run("create", *options)

    def objects(self, path: str, name: str) -> list[dict[str, Any]]:
        """The objects of a builder, those left out that are being deleted."""
        listed = self.kube.list(path.format(f"namespaces/{self.namespace}"), labelSelector=f"{labels.BUILDER}={name}")
        return [item for item in listed["items"] if not item["metadata"].get("deletionTimestamp")]

    def names(self, path: str, name: str) -> list[str]:
        """The names of such objects."""
        return sorted(item["metadata"]["name"] for item in self.objects(path, name))

    def pods(self, name: str) -> list[str]:
        """The builder's pods that stay."""
        return self.names("/api/v1/{}/pods", name)

    def left(self, name: str) -> list[str]:
        """All that there is of a builder, whatever it is."""
        return [found for path in EVERYTHING for found in self.names(path, name)]

    def seen(self, name: str) -> dict[str, Any]:
        """What `ls` says of a builder."""
        listed = self.product.run("ls", "--namespace", self.namespace, "--format", "json")
        assert listed.code == 0, listed.stderr
        return next(one for one in map(json.loads, listed.stdout.decode().splitlines()) if one["Name"] == name)


EVERYTHING = (
    "/apis/apps/v1/{}/deployments",
    "/apis/apps/v1/{}/statefulsets",
    "/api/v1/{}/pods",
    "/api/v1/{}/secrets",
    "/api/v1/{}/configmaps",
    "/api/v1/{}/persistentvolumeclaims",
)


def eventually(what: str, check: Callable[[], bool]) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.2)


def list_holders(shop: Shop, role: str) -> list[dict[str, Any]]:
    """The Leases of a namespace's pools with this role, "slot" or "ticket"."""
    found: list[dict[str, Any]] = shop.kube.list(
        f"/apis/coordination.k8s.io/v1/namespaces/{shop.namespace}/leases",
        labelSelector=f"kube-builder.dev/pool={role}",
    )["items"]
    return found


@contextmanager
def create_builder(shop: Shop, name: str, *options: str) -> Iterator[None]:
    """A running builder until the end of the block."""
    made = shop.create("--name", name, "--bootstrap", *options)
    assert made.code == 0, made.stderr
    try:
        yield
    finally:
        assert shop.product.run("rm", name).code == 0
