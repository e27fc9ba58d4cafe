"""All values that follow from a cluster's name: addresses, folders, interfaces, cgroups."""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

# Reserved for tests of network devices (RFC 2544), so it hides no real network of the host.
TEST_NETWORK = IPv4Network("198.18.0.0/15")
NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
ARCHITECTURES = ("amd64", "arm64")
API_PORT = 6443


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One cluster node: a kubelet with its containerd."""

    name: str
    architecture: str
    address: IPv4Address
    folder: Path
    cgroup: str

    @property
    def socket(self) -> Path:
        """containerd's UNIX socket."""
        return self.folder / "containerd.sock"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster as defined by its name; the value does not know whether the cluster runs."""

    name: str
    state: Path

    @cached_property
    def network(self) -> IPv4Network:
        """The /22 that the host routes to this cluster, divided into link, services and pods."""
        slots = list(TEST_NETWORK.subnets(new_prefix=22))
        return slots[int(self.fingerprint, 16) % len(slots)]

    @cached_property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits derived from the name: interface names have no room for more."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]

    @property
    def link(self) -> IPv4Network:
        """The subnet of the veth pair."""
        return IPv4Network((self.network.network_address, 29))

    @property
    def host_address(self) -> IPv4Address:
        """The host's end of the veth pair."""
        return self.link[1]

    @property
    def address(self) -> IPv4Address:
        """The cluster's end: API server, registries and DNS listen here, for the host and for pods."""
        return self.link[2]

    @property
    def service_range(self) -> IPv4Network:
        """Cluster addresses of services."""
        return IPv4Network((self.network[256], 24))

    @property
    def pod_range(self) -> IPv4Network:
        """Addresses of pods, reachable from the host."""
        return IPv4Network((self.network[512], 23))

    @property
    def api_url(self) -> str:
        """URL of the API server for host and pods."""
        return f"https://{self.address}:{API_PORT}"

    @property
    def api_service(self) -> IPv4Address:
        """Address of the service `kubernetes`: the first of the range, by Kubernetes' own rule."""
        return self.service_range[1]

    @property
    def dns_service(self) -> IPv4Address:
        """Address of the service `kube-dns`."""
        return self.service_range[10]

    @property
    def outer_interface(self) -> str:
        """Name of the host's end of the veth pair; at most 15 characters (IFNAMSIZ)."""
        return f"kb-{self.fingerprint}"

    @property
    def cgroup(self) -> str:
        """Parent of the cluster nodes' cgroups, below the root of each hierarchy."""
        return f"/kube-builder-{self.name}"

    @property
    def pod_network(self) -> str:
        """Name of the CNI network."""
        return f"kube-builder-{self.name}"

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """One cluster node per architecture, each with its own address, so that their ports do not conflict."""
        return tuple(
            Node(
                name=f"{self.name}-{architecture}",
                architecture=architecture,
                address=self.address + index,
                folder=self.state / "nodes" / architecture,
                cgroup=f"{self.cgroup}/{architecture}",
            )
            for index, architecture in enumerate(ARCHITECTURES)
        )

    @property
    def pki(self) -> Path:
        """Certificates and keys; `ca.crt` signs every server of this cluster, including registries."""
        return self.state / "pki"

    @property
    def run(self) -> Path:
        """Process records and logs: `NAME.stat` and `NAME.log`."""
        return self.state / "run"

    @property
    def configuration(self) -> Path:
        """Rendered configuration files."""
        return self.state / "configuration"

    @property
    def registries(self) -> Path:
        """Folder of the registries' storage."""
        return self.state / "registries"

    @property
    def namespaces(self) -> Path:
        """Folder of the files `net` and `mnt`, which keep the cluster's namespaces alive."""
        return self.state / "namespaces"

    @property
    def version(self) -> Path:
        """File with the minor version of Kubernetes."""
        return self.state / "kubernetes"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"


def state_root() -> Path:
    """Return the folder of all clusters' state: KUBE_BUILDER_STATE, or the system's default."""
    return Path(os.environ.get("KUBE_BUILDER_STATE") or "/var/lib/kube-builder-devcluster").absolute()


def cluster(name: str | None = None, root: Path | None = None) -> Cluster:
    """Return the cluster of that name (default: :func:`default_name`).

    Raises ValueError if the name cannot be part of cluster node and cgroup names.
    """
    name = default_name() if name is None else name
    if not NAME.fullmatch(name):
        raise ValueError(f"cluster name {name!r}: want 1 to 20 of a-z, 0-9 and '-', beginning with a letter")
    return Cluster(name=name, state=(root or state_root()) / name)


def default_name() -> str:
    """Return the name of the cluster that commands, tests and benchmarks use: ``DEVCLUSTER``, or ``dev``."""
    return os.environ.get("DEVCLUSTER") or "dev"
