"""Builder settings: the frozen values that the driver options are parsed into."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret

Pairs = tuple[tuple[str, str], ...]

IMAGE = "moby/buildkit:buildx-stable-1"
ROOTLESS_IMAGE = f"{IMAGE}-rootless"
QEMU_IMAGE = "tonistiigi/binfmt:latest"

MOST_BUILDS = 1000
"""Largest bound on the builds of a pod: a larger one is a typing error."""


class LoadBalance(StrEnum):
    """How a build chooses one of several replicas: by its repository, the least busy, or a random one."""

    STICKY = "sticky"
    LEAST = "least"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRange:
    """The range of an elastic builder's replicas; pods that were idle for ``idle`` seconds are removed."""

    least: int
    most: int
    idle: float = 600.0


class UserNamespaces(StrEnum):
    """Use of user namespaces for the pods: if all cluster nodes support them, always, or never.

    In a user namespace, root in the pod is another user on the cluster node.
    """

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


class Reclaim(StrEnum):
    """Whether the volumes of a persistent builder are deleted with the builder."""

    DELETE = "delete"
    RETAIN = "retain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint that the pods tolerate, in Kubernetes' terms; ``seconds`` limits it for ``NoExecute``.

    ``str()`` of it is one part of driver-opt ``tolerations``.
    """

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def __str__(self) -> str:
        seconds = "" if self.seconds is None else str(self.seconds)
        # The key is not first: after a semicolon it would be masked like a token in a URL.
        names = ("effect", "operator", "value", "key", "tolerationSeconds")
        fields = zip(names, (self.effect, self.operator, self.value, self.key, seconds), strict=True)
        return ",".join(f"{name}={value}" for name, value in fields if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Location of buildkitd's state: the cluster node's disk, ``memory``, or a ``claimed`` volume.

    Both are quantities, "" if unused; at most one is set. ``storage_class`` "" means the cluster's default.
    """

    memory: str = ""
    claimed: str = ""
    storage_class: str = ""
    reclaim: Reclaim = Reclaim.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """Whether an init container registers emulators with the kernel of the cluster node, and its image."""

    install: bool = False
    image: str = QEMU_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderProxy:
    """The proxies that buildkitd itself uses; a URL may hold a password. ``no_proxy`` lists the user's exceptions."""

    http: Secret | None = None
    https: Secret | None = None
    no_proxy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Profiles that confine a rootless buildkitd: ``unconfined``, ``runtime/default``, ``localhost/NAME``, or "".

    The values are those of Kubernetes' annotations; "" leaves the choice to the cluster.
    """

    seccomp: str = "unconfined"
    apparmor: str = "unconfined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """Access of buildkitd to registries, in addition to its own configuration.

    ``mirrors`` are keyed by the registry's host and listed in the order to try. ``insecure`` hosts may use plain HTTP
    or present any certificate. ``certificates`` is PEM text of authorities that buildkitd trusts for all connections.
    """

    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    insecure: tuple[str, ...] = ()
    certificates: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKeyPair:
    """A client certificate and its key, as PEM text."""

    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFiles:
    """Content of the files that ``[registry."HOST"]`` of buildkitd.toml names: ``authorities`` are PEM texts."""

    host: str
    authorities: tuple[str, ...] = ()
    keypairs: tuple[RegistryKeyPair, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkIsolation:
    """A NetworkPolicy that admits only mTLS, from pods with the labels of ``runners`` (empty: from anywhere)."""

    runners: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSettings:
    """Settings of a builder, of one job or persistent.

    ``namespace`` "" means a new namespace for the job, or the context's namespace for a persistent builder.
    ``max_builds`` is the maximum of concurrent builds in a pod, 0 for unbounded, None to derive it from the requests.
    ``metrics_port`` is that of buildkitd's metrics, 0 for none. With ``scaling``, ``replicas`` is only the number at
    the beginning. ``pod_fields`` are fields of the pods' spec that options set, by their names in Kubernetes.
    ``requests`` and ``limits`` map ``cpu``, ``memory``, ``ephemeral-storage`` to checked Kubernetes quantities.
    ``default_load``: results go to the local image store unless another output is requested. ``pull_secrets`` are names
    of Secrets in the namespace; ``pull_login``: a Secret is created from the login for the image's registry.
    ``pod_template`` is merged into the pods last. ``timeout`` (s) limits the boot, ``lifetime`` (s) is a Job's
    ``activeDeadlineSeconds``, ``grace_period`` (s) is the time for buildkitd to end (None: chosen by workload).
    ``buildkitd_config`` is the text of a buildkitd.toml, ``registry_files`` the content of the files that it names.
    """

    namespace: str = ""
    image: str = IMAGE
    replicas: int = 1
    loadbalance: LoadBalance = LoadBalance.STICKY
    max_builds: int | None = None
    metrics_port: int = 0
    scaling: ReplicaRange | None = None
    default_load: bool = False
    nodeselector: Pairs = ()
    tolerations: tuple[Toleration, ...] = ()
    annotations: Pairs = ()
    labels: Pairs = ()
    pod_fields: tuple[tuple[str, str | int | bool], ...] = ()
    requests: Pairs = ()
    limits: Pairs = ()
    env: Pairs = ()
    rootless: bool = False
    user_namespaces: UserNamespaces = UserNamespaces.AUTO
    confinement: Confinement = field(default_factory=Confinement)
    qemu: Qemu = field(default_factory=Qemu)
    storage: Storage = field(default_factory=Storage)
    pull_secrets: tuple[str, ...] = ()
    pull_login: bool = False
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    proxy: BuilderProxy | None = None
    registries: Registries = field(default_factory=Registries)
    network: NetworkIsolation | None = None
    timeout: float = 120.0
    grace_period: int | None = None
    lifetime: int = 3600
    buildkitd_config: str = ""
    registry_files: tuple[RegistryFiles, ...] = ()
    buildkitd_flags: tuple[str, ...] = ()
