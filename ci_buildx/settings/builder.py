"""What a builder is asked to be: the frozen values that the driver options become."""

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


class LoadBalance(StrEnum):
    """How one of several replicas is chosen: always the same for a repository, or any."""

    STICKY = "sticky"
    RANDOM = "random"


class UserNamespaces(StrEnum):
    """Whether root in the pod is somebody else on the node: where all nodes can, or always, or never."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


class Reclaim(StrEnum):
    """What becomes of a lasting builder's volumes when the builder is removed."""

    DELETE = "delete"
    RETAIN = "retain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint that pods stand, as Kubernetes writes it; ``seconds`` bounds it for ``NoExecute``."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where buildkitd's state is: on the node's disk, in ``memory``, or on a volume that is ``claimed``.

    Both are quantities, "" where they are not wanted; at most one is. ``storage_class`` "" means the cluster's
    default.
    """

    memory: str = ""
    claimed: str = ""
    storage_class: str = ""
    reclaim: Reclaim = Reclaim.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """Whether an init container registers emulators with the node's kernel, and its image."""

    install: bool = False
    image: str = QEMU_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderProxy:
    """The proxies that buildkitd itself uses; a URL may hold a password. ``no_proxy`` is what the user excepts."""

    http: Secret | None = None
    https: Secret | None = None
    no_proxy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a rootless buildkitd is confined by: ``unconfined``, ``runtime/default``, ``localhost/NAME``, or "".

    These are the words of Kubernetes' annotations; "" leaves it to the cluster.
    """

    seccomp: str = "unconfined"
    apparmor: str = "unconfined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """How buildkitd reaches registries, on top of what its own configuration says.

    ``mirrors`` by the registry's host, in the order to try. ``insecure`` hosts may speak plain HTTP or show any
    certificate. ``certificates`` is PEM text of authorities that buildkitd trusts for everything.
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
    """What ``[registry."HOST"]`` of buildkitd.toml names: ``authorities`` are PEM texts."""

    host: str
    authorities: tuple[str, ...] = ()
    keypairs: tuple[RegistryKeyPair, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkIsolation:
    """A NetworkPolicy that lets nothing but mTLS in, from pods with the labels of ``runners`` (none: from anywhere)."""

    runners: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSettings:
    """A builder, of a job or lasting.

    ``namespace`` "" means a namespace of the job's own, or the context's for a lasting builder. ``requests`` and
    ``limits`` map ``cpu``, ``memory``, ``ephemeral-storage`` to checked Kubernetes quantities. ``default_load``:
    results go to the local image store unless something else is asked for. ``pull_secrets`` are Secrets in the
    namespace; ``pull_login``: one is made from the login for the image's registry. ``pod_template`` is merged into
    the pods last. ``timeout`` (s) bounds the boot, ``lifetime`` (s) is a Job's ``activeDeadlineSeconds``,
    ``grace_period`` (s) is given to buildkitd to end (None: what suits the workload). ``buildkitd_config`` is the
    text of a buildkitd.toml, ``registry_files`` the content of the files that it names.
    """

    namespace: str = ""
    image: str = IMAGE
    replicas: int = 1
    loadbalance: LoadBalance = LoadBalance.STICKY
    default_load: bool = False
    nodeselector: Pairs = ()
    tolerations: tuple[Toleration, ...] = ()
    annotations: Pairs = ()
    labels: Pairs = ()
    serviceaccount: str = ""
    schedulername: str = ""
    priority_class: str = ""
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
