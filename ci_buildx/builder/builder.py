"""A builder as the rest of the project sees it: names and what is needed to reach it, no connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.builder.labels import selector
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret

CONTAINER = "buildkitd"
PORT = 1234
"""Where buildkitd speaks mTLS: the port that its documentation uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a builder's objects are, known before any of them exists.

    ``exclusive`` says that the namespace is the builder's own and goes with it. In another's namespace each object's
    name begins with the builder's.
    """

    name: str
    namespace: str
    exclusive: bool = True

    @property
    def selector(self) -> str:
        """The label selector of everything that belongs to the builder."""
        return selector(self.name)

    @property
    def namespace_path(self) -> str:
        """The API path of the namespace itself."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def jobs_path(self) -> str:
        """The API path of the workloads."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def core_path(self, plural: str) -> str:
        """The API path of a core collection such as ``pods``."""
        return f"{self.namespace_path}/{plural}"

    def object_name(self, part: str) -> str:
        """The name of the builder's object for ``part``: a node's name, or what the object is for."""
        return f"buildkit-{part}" if self.exclusive else f"{self.name}-{part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKeys:
    """The client's side of mTLS: PEM bytes."""

    ca: bytes
    certificate: bytes
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A builder that was provisioned or found: its place, its nodes, the keys to it.

    ``transports`` has the transport that won earlier, by the node's name, where one is remembered.
    """

    location: Location
    plan: Plan
    keys: ClientKeys
    transports: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The builder's name."""
        return self.location.name

    @property
    def namespace(self) -> str:
        """The namespace that its pods are in."""
        return self.location.namespace

    def workload(self, node: NodePlan) -> str:
        """The name of the Job that runs a node's pods."""
        return self.location.object_name(node.name)


Manifest = dict[str, Any]
"""A Kubernetes object as the API takes it."""
