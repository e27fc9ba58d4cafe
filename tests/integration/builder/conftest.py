"""A connection to the devcluster, and builders that are torn down after each test."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from ci_buildx.builder import identity as builder_identity
from ci_buildx.builder import plan
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.cluster_facts import read_cluster_facts
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import certificates
from ci_buildx.errors import NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.settings.builder import BuilderSettings
from devcluster.accounts import Account

PATIENCE = 60.0
"""Seconds after which a wait on the devcluster has failed."""


def eventually(what: str, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.1)


@dataclass(frozen=True)
class Altering:
    """A client that creates something else than it was told to."""

    kube: KubeClient
    alter: Callable[[dict[str, Any]], object]

    def create(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        if body.get("kind") == "Job":
            self.alter(body)
        return self.kube.create(path, body, **query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kube, name)


@dataclass(slots=True)
class Yard:
    """Makes builders and namespaces, and remembers them for the end."""

    kube: KubeClient
    """The administrator's."""
    job_kube: KubeClient
    """The product's."""
    account: Account
    locations: list[BuilderLocation] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    """Paths of cluster-wide objects that go at the end."""
    undo: list[Callable[[], object]] = field(default_factory=list)
    """What else is done at the end."""

    def identity(self) -> JobIdentity:
        return builder_identity.make_identity(
            JobOrigin(system="local", repository="tests/builder"), suffix=builder_identity.make_random_suffix()
        )

    def blueprint(self, platforms: tuple[Platform, ...] = (), **settings: object) -> ProvisionRequest:
        chosen = replace(BuilderSettings(lifetime=600, timeout=PATIENCE), **settings)  # type: ignore[arg-type]
        return ProvisionRequest(
            identity=self.identity(),
            plan=plan.make_plan(platforms, read_cluster_facts(self.job_kube), chosen),
            settings=chosen,
            certificates=certificates.issue(certificates.NAMES, chosen.lifetime),
        )

    def provision(self, platforms: tuple[Platform, ...] = (), **settings: object) -> Builder:
        return self.make(self.blueprint(platforms, **settings))

    def make(self, blueprint: ProvisionRequest, *, alter: Callable[[dict[str, Any]], object] | None = None) -> Builder:
        """Make a builder; ``alter`` changes its Jobs, as a webhook of the cluster may."""
        kube = cast("KubeClient", Altering(self.job_kube, alter)) if alter else self.job_kube
        return provision(kube, blueprint, announce=self.locations.append)

    def boot(self, builder: Builder, seconds: float = PATIENCE) -> Boot:
        return Boot(self.job_kube, builder, deadline=time.monotonic() + seconds)

    def namespace(self, **labels: str) -> str:
        """A namespace that is nobody's builder."""
        name = f"builder-test-{builder_identity.make_random_suffix()}"
        self.kube.create(
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        )
        self.namespaces.append(name)
        self.account.let_into(name)
        return name

    def exists(self, path: str) -> bool:
        try:
            found = self.kube.get(path)
        except NotFound:
            return False
        return "deletionTimestamp" not in found.get("metadata", {})

    def clear(self) -> None:
        for location in self.locations:
            teardown(self.kube, location, deadline=time.monotonic() + PATIENCE).check()
        for name in self.namespaces:
            self.kube.delete(f"/api/v1/namespaces/{name}")
        for path in self.objects:
            self.kube.delete(path)
        for each in self.undo:
            each()


@pytest.fixture
def yard(kube: KubeClient, job_kube: KubeClient, job_account: Account) -> Iterator[Yard]:
    """Makes builders and namespaces with the product's rights, and removes them after the test."""
    made = Yard(kube, job_kube, job_account)
    yield made
    made.clear()
