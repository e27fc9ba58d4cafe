"""The processes of a cluster, in their starting order."""

from dataclasses import dataclass
from pathlib import Path

from devcluster import bootstrap, components, issuer, namespaces, processes, programs, registry
from devcluster.layout import Cluster
from devcluster.processes import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that must keep running.

    `private` moves it into the mount namespace too, where the host's folders are hidden; `settings` is a folder for
    copies of kernel settings that it may write.
    """

    name: str
    command: Command
    private: bool = True
    settings: Path | None = None

    def enter(self, cluster: Cluster) -> list[str]:
        """Return the prefix that moves it into its namespaces."""
        shield = namespaces.shield(self.settings) if self.settings else []
        return [*namespaces.enter(cluster, mount=self.private), *shield]


def servers(cluster: Cluster) -> tuple[registry.Service, ...]:
    """Return the servers that are not part of Kubernetes: registries, and the issuer that the API server trusts."""
    return (*registry.services(cluster), issuer.service(cluster))


def foundation(cluster: Cluster) -> list[Service]:
    """Return the services without dependencies: store, API server, container runtimes, registries.

    The API server itself waits for the store.
    """
    return [
        Service(name="etcd", command=components.etcd(cluster)),
        Service(name="kube-apiserver", command=components.api_server(cluster)),
        *(
            Service(
                name=f"containerd-{node.architecture}", command=components.containerd(node.folder / "containerd.toml")
            )
            for node in cluster.nodes
        ),
        # Registries run from the source tree, which may be in a hidden folder.
        *(Service(name=server.name, command=server.command, private=False) for server in servers(cluster)),
    ]


def control(cluster: Cluster) -> list[Service]:
    """Return the services that need the API server; a small cluster has no DNS."""
    manager, scheduler = (
        bootstrap.component_kubeconfig(cluster, user) for user in ("kube-controller-manager", "kube-scheduler")
    )
    place = cluster.configuration
    return [
        Service(name="kube-controller-manager", command=components.controller_manager(cluster, manager)),
        Service(name="kube-scheduler", command=components.scheduler(cluster, scheduler)),
        Service(name="kube-proxy", command=components.kube_proxy(cluster, place / "kube-proxy.yaml")),
        *(
            [Service(name="coredns", command=components.coredns(place / "Corefile"))]
            if programs.is_built("coredns")
            else []
        ),
    ]


def nodes(cluster: Cluster) -> list[Service]:
    """Return the kubelets, which need the pause image and the initial objects that set architectures."""
    return [
        Service(
            name=f"kubelet-{node.architecture}",
            command=components.kubelet(cluster, node, node.folder / "kubelet.yaml", node.folder / "kubeconfig"),
            settings=node.folder / "settings",
        )
        for node in cluster.nodes
    ]


def every(cluster: Cluster) -> list[Service]:
    """Return all services in starting order."""
    return [*foundation(cluster), *control(cluster), *nodes(cluster)]


def start(cluster: Cluster, wanted: list[Service]) -> None:
    """Start services that do not run, and restart those whose command has changed."""
    for service in wanted:
        process = processes.record(cluster, service.name)
        if process and process.alive and not processes.follows(process, service.command):
            processes.stop(process)
        if not process or not process.alive:
            processes.start(cluster, service.name, service.command, service.enter(cluster))
