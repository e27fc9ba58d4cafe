"""A builder as other packages see it: names and everything needed to reach it, but no connections."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.builder.labels import make_selector
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret

PORT = 1234
"""TCP port on which buildkitd serves mTLS; the port that its documentation uses."""
ADDRESS_LABEL = "kube-builder.pod-ip"
"""Label of buildkitd's worker that holds the pod's IP address."""
SERVER_NAME = "buildkitd"
"""Name that clients expect in the server's certificate, because pods have no stable address."""

CA_FILE = "ca.pem"
CLIENT_CERTIFICATE_FILE = "client.pem"
CLIENT_KEY_FILE = "client-key.pem"
CONFIG_FILE = "buildkitd.toml"


class Lifetime(StrEnum):
    """How long a builder exists: for one job, or from ``create`` to ``rm``."""

    JOB = "job"
    BUILDER = "builder"


class Workload(StrEnum):
    """Kind of object that runs a node's pods; the value is its plural in API paths."""

    JOB = "jobs"
    DEPLOYMENT = "deployments"
    STATEFUL_SET = "statefulsets"

    @property
    def group(self) -> str:
        """Return the API group and version as a path."""
        return "/apis/batch/v1" if self is Workload.JOB else "/apis/apps/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderLocation:
    """Where a builder's objects are; known before any of them exists.

    ``exclusive`` means that the namespace belongs to the builder and is deleted with it. In a shared namespace, object
    names start with the builder's name, except the workloads of a lasting builder, which are named after their nodes.
    ``nonce`` identifies the run that creates the objects; "" when a builder of another run is looked up.
    """

    name: str
    namespace: str
    exclusive: bool = True
    lifetime: Lifetime = Lifetime.JOB
    nonce: str = ""

    @property
    def selector(self) -> str:
        """Return the label selector that matches everything that belongs to the builder."""
        return make_selector(self.name)

    @property
    def namespace_path(self) -> str:
        """Return the API path of the namespace itself."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def lasting(self) -> bool:
        """Return whether the builder exists until it is removed explicitly."""
        return self.lifetime is Lifetime.BUILDER

    @property
    def jobs_path(self) -> str:
        """Return the API path of a job builder's workloads."""
        return self.make_workloads_path(Workload.JOB)

    def make_workloads_path(self, kind: Workload) -> str:
        """Return the API path of the workloads of one kind."""
        return f"{kind.group}/namespaces/{self.namespace}/{kind}"

    def make_core_path(self, plural: str) -> str:
        """Return the API path of a core collection such as ``pods``."""
        return f"{self.namespace_path}/{plural}"

    @property
    def policies_path(self) -> str:
        """Return the API path of NetworkPolicies."""
        return f"/apis/networking.k8s.io/v1/namespaces/{self.namespace}/networkpolicies"

    def make_object_name(self, part: str) -> str:
        """Return the name of the builder's object for ``part``: a node's name, or the object's purpose."""
        return f"buildkit-{part}" if self.exclusive else f"{self.name}-{part}"

    def make_config_name(self, node: str) -> str:
        """Return the name of a node's ConfigMap: one per node in a lasting builder, shared by a job builder's nodes."""
        return f"{node}-config" if self.lasting else self.make_object_name("config")


def locate_lasting_builder(name: str, namespace: str) -> BuilderLocation:
    """Return the location of a builder that exists until it is removed."""
    return BuilderLocation(name=name, namespace=namespace, exclusive=False, lifetime=Lifetime.BUILDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKeys:
    """The client's side of mTLS: CA certificate, client certificate and key in PEM."""

    ca: bytes
    certificate: bytes
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A builder that was provisioned or found: its location, its nodes and the client's keys.

    ``transports`` maps node names to the transport that worked earlier, if one was recorded. ``kinds`` maps node names
    to the kind of workload, if that is not Job. ``timeout`` (s) bounds the wait for its pods, None for the value in the
    settings. ``trust`` is the scope of the runs that may use it. ``loads``: builds without an output option are loaded
    into a docker daemon (driver-opt default-load). ``owner`` refers to its Secret, with which everything of a lasting
    builder is deleted; {} for a builder that was just created for a job.
    """

    location: BuilderLocation
    plan: Plan
    keys: ClientKeys
    transports: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Workload] = field(default_factory=dict)
    trust: str = ""
    timeout: float | None = None
    loads: bool = False
    owner: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the builder's name."""
        return self.location.name

    @property
    def namespace(self) -> str:
        """Return the namespace of the builder's pods."""
        return self.location.namespace

    def name_workload(self, node: NodePlan) -> str:
        """Return the name of the workload that runs a node's pods."""
        return node.name if self.location.lasting else self.location.make_object_name(node.name)

    def make_workload_path(self, node: NodePlan) -> str:
        """Return the API path of the workload that runs a node's pods."""
        kind = self.kinds.get(node.name, Workload.JOB)
        return f"{self.location.make_workloads_path(kind)}/{self.name_workload(node)}"


Manifest = dict[str, Any]
"""Kubernetes object as the API accepts it."""
