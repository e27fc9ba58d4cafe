"""A builder as the rest of the project sees it: names and what is needed to reach it, no connections."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.builder.labels import make_selector
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret

PORT = 1234
"""Where buildkitd speaks mTLS: the port that its documentation uses."""
ADDRESS_LABEL = "kube-builder.pod-ip"
"""The label of buildkitd's worker that holds the pod's address."""
SERVER_NAME = "buildkitd"
"""The name that a client expects in the server's certificate: pods have no lasting address."""

CA_FILE = "ca.pem"
CLIENT_CERTIFICATE_FILE = "client.pem"
CLIENT_KEY_FILE = "client-key.pem"
CONFIG_FILE = "buildkitd.toml"


class Lifetime(StrEnum):
    """How long a builder is there: for one job, or from ``create`` to ``rm``."""

    JOB = "job"
    BUILDER = "builder"


class Workload(StrEnum):
    """What runs a node's pods, by the name that its API path has."""

    JOB = "jobs"
    DEPLOYMENT = "deployments"
    STATEFUL_SET = "statefulsets"

    @property
    def group(self) -> str:
        """The API group and version, as a path."""
        return "/apis/batch/v1" if self is Workload.JOB else "/apis/apps/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderLocation:
    """Where a builder's objects are, known before any of them exists.

    ``exclusive`` says that the namespace is the builder's own and goes with it. In another's namespace each object's
    name begins with the builder's, but for the workloads of a lasting builder, which have their nodes' names.
    ``nonce`` is what the run that makes the objects knows them by; "" for whoever finds a builder of another run.
    """

    name: str
    namespace: str
    exclusive: bool = True
    lifetime: Lifetime = Lifetime.JOB
    nonce: str = ""

    @property
    def selector(self) -> str:
        """The label selector of everything that belongs to the builder."""
        return make_selector(self.name)

    @property
    def namespace_path(self) -> str:
        """The API path of the namespace itself."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def lasting(self) -> bool:
        """Whether it stays until it is removed."""
        return self.lifetime is Lifetime.BUILDER

    @property
    def jobs_path(self) -> str:
        """The API path of a job's workloads."""
        return self.make_workloads_path(Workload.JOB)

    def make_workloads_path(self, kind: Workload) -> str:
        """The API path of the workloads of one kind."""
        return f"{kind.group}/namespaces/{self.namespace}/{kind}"

    def make_core_path(self, plural: str) -> str:
        """The API path of a core collection such as ``pods``."""
        return f"{self.namespace_path}/{plural}"

    def make_object_name(self, part: str) -> str:
        """The name of the builder's object for ``part``: a node's name, or what the object is for."""
        return f"buildkit-{part}" if self.exclusive else f"{self.name}-{part}"

    def make_config_name(self, node: str) -> str:
        """The name of a node's ConfigMap: a job's nodes share one, a lasting builder's nodes have their own."""
        return f"{node}-config" if self.lasting else self.make_object_name("config")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKeys:
    """The client's side of mTLS: PEM bytes."""

    ca: bytes
    certificate: bytes
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A builder that was provisioned or found: its place, its nodes, the keys to it.

    ``transports`` has the transport that won earlier, by the node's name, where one is remembered; ``kinds`` what runs
    a node's pods, where that is no Job. ``timeout`` (s) bounds the wait for its pods, None for what the settings say.
    ``trust`` is the scope of the runs that may use it. ``loads``: what is built goes to a docker daemon where nothing
    else is asked for (driver-opt default-load).
    """

    location: BuilderLocation
    plan: Plan
    keys: ClientKeys
    transports: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Workload] = field(default_factory=dict)
    trust: str = ""
    timeout: float | None = None
    loads: bool = False

    @property
    def name(self) -> str:
        """The builder's name."""
        return self.location.name

    @property
    def namespace(self) -> str:
        """The namespace that its pods are in."""
        return self.location.namespace

    def name_workload(self, node: NodePlan) -> str:
        """The name of what runs a node's pods."""
        return node.name if self.location.lasting else self.location.make_object_name(node.name)

    def make_workload_path(self, node: NodePlan) -> str:
        """The API path of what runs a node's pods."""
        kind = self.kinds.get(node.name, Workload.JOB)
        return f"{self.location.make_workloads_path(kind)}/{self.name_workload(node)}"


Manifest = dict[str, Any]
"""A Kubernetes object as the API takes it."""
