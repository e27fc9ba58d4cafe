"""Which processes make up a cluster, and in which order they start."""

from dataclasses import dataclass
from pathlib import Path

from devcluster import bootstrap, components, issuer, namespaces, processes, registry
from devcluster.layout import Cluster
from devcluster.processes import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process to be kept.

    `private` puts it into the mount namespace too, where the host's folders are hidden; `settings` is a folder for
    copies of kernel settings that it may set.
    """

    name: str
    command: Command
    private: bool = True
    settings: Path | None = None

    def enter(self, cluster: Cluster) -> list[str]:
        """The prefix that puts it where it belongs."""
        shield = namespaces.shield(self.settings) if self.settings else []
        return [*namespaces.enter(cluster, mount=self.private), *shield]


def servers(cluster: Cluster) -> tuple[registry.Service, ...]:
    """The servers that are not Kubernetes' own: registries, and the issuer that the API server trusts."""
    return (*registry.services(cluster), issuer.service(cluster))


def foundation(cluster: Cluster) -> list[Service]:
    """What needs nothing else: store, API server (it waits for the store), container runtimes, registries."""
    return [
        Service(name="etcd", command=components.etcd(cluster)),
        Service(name="kube-apiserver", command=components.api_server(cluster)),
        *(
            Service(
                name=f"containerd-{node.architecture}", command=components.containerd(node.folder / "containerd.toml")
            )
            for node in cluster.nodes
        ),
        # Registries run from the source tree, which may lie in a hidden folder.
        *(Service(name=server.name, command=server.command, private=False) for server in servers(cluster)),
    ]


def control(cluster: Cluster) -> list[Service]:
    """What needs the API server."""
    manager, scheduler = (
        bootstrap.component_kubeconfig(cluster, user) for user in ("kube-controller-manager", "kube-scheduler")
    )
    place = cluster.configuration
    return [
        Service(name="kube-controller-manager", command=components.controller_manager(cluster, manager)),
        Service(name="kube-scheduler", command=components.scheduler(cluster, scheduler)),
        Service(name="kube-proxy", command=components.kube_proxy(place / "kube-proxy.yaml")),
        Service(name="coredns", command=components.coredns(place / "Corefile")),
    ]


def nodes(cluster: Cluster) -> list[Service]:
    """What needs the initial objects, which give the nodes their architectures, and the pause image."""
    return [
        Service(
            name=f"kubelet-{node.architecture}",
            command=components.kubelet(node, node.folder / "kubelet.yaml", node.folder / "kubeconfig"),
            settings=node.folder / "settings",
        )
        for node in cluster.nodes
    ]


def every(cluster: Cluster) -> list[Service]:
    """All of them in starting order."""
    return [*foundation(cluster), *control(cluster), *nodes(cluster)]


def start(cluster: Cluster, wanted: list[Service]) -> None:
    """Start those that don't run, and anew those that run otherwise than they would be started now."""
    for service in wanted:
        process = processes.record(cluster, service.name)
        if process and process.alive and not processes.follows(process, service.command):
            processes.stop(process)
        if not process or not process.alive:
            processes.start(cluster, service.name, service.command, service.enter(cluster))
