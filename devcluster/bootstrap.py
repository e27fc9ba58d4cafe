"""Writes the files that a cluster's processes read: certificates, kubeconfigs and configuration."""

from pathlib import Path

from devcluster import configuration, host, issuer, objects, pki, programs, registry
from devcluster.layout import Cluster, Node

MASTERS = "system:masters"
PAUSE = "pause:1"

SECCOMP = Path(__file__).parents[1] / "docs" / "seccomp" / "buildkit.json"
"""Seccomp profile that lets rootless BuildKit run under PodSecurity `baseline`."""


def write(cluster: Cluster) -> None:
    """Write all files; keys and certificates only if they are missing."""
    pki.ensure_authority(cluster)
    write_certificates(cluster)
    pki.ensure_kubeconfig(cluster, cluster.kubeconfig, pki.Subject(name="admin", group=MASTERS))
    host.give_to_caller(cluster.kubeconfig)
    place = cluster.configuration
    place.mkdir(parents=True, exist_ok=True)
    for user in ("system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", objects.DNS_USER):
        pki.ensure_kubeconfig(cluster, component_kubeconfig(cluster, user), pki.Subject(name=user))
    write_text(place / "resolv.conf", "")
    (place / "cni").mkdir(exist_ok=True)
    write_text(place / "cni" / "pods.conflist", configuration.pod_network(cluster))
    write_text(
        place / "kube-proxy.yaml", configuration.kube_proxy(cluster, component_kubeconfig(cluster, "system:kube-proxy"))
    )
    write_text(place / "Corefile", configuration.corefile(cluster, component_kubeconfig(cluster, objects.DNS_USER)))
    registry.write(cluster)
    issuer.write(cluster)
    host.give_to_caller(registry.credentials_file(cluster))
    write_registry_hosts(cluster)
    for node in cluster.nodes:
        write_node(cluster, node)


def write_text(path: Path, text: str) -> None:
    """Write a file unless its content is the same: kube-proxy exits if its file is touched (its options.go, 1.34)."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_certificates(cluster: Cluster) -> None:
    """Create the API server's certificates: for serving, and as client of kubelets."""
    hosts = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    addresses = (str(cluster.address), str(cluster.api_service), "127.0.0.1")
    pki.ensure_pair(
        cluster, "api", pki.Subject(name="kube-apiserver", addresses=addresses, hosts=(*hosts, "localhost"))
    )
    pki.ensure_pair(cluster, "api-kubelet", pki.Subject(name="kube-apiserver-kubelet-client", group=MASTERS))


def component_kubeconfig(cluster: Cluster, user: str) -> Path:
    """Return the path of a component's kubeconfig."""
    return cluster.configuration / f"{user.removeprefix('system:')}.kubeconfig"


def write_registry_hosts(cluster: Cluster) -> None:
    """Configure containerd's access to each registry, under its own name and those that it mirrors."""
    for server in registry.registries(cluster):
        text = configuration.registry_hosts(server.url, ca=server.ca_file)
        for name in (server.address, *server.mirrors):
            folder = cluster.configuration / "certs.d" / name
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "hosts.toml", text)


def pause_image(cluster: Cluster) -> str:
    """Return the image that holds a pod's namespaces, as containerd pulls it."""
    opened, *_ = registry.registries(cluster)
    return f"{opened.address}/{PAUSE}"


def write_node(cluster: Cluster, node: Node) -> None:
    """Write a cluster node's certificate and configuration."""
    (node.folder / "settings").mkdir(parents=True, exist_ok=True)
    subject = pki.Subject(
        name=f"system:node:{node.name}", group="system:nodes", addresses=(str(node.address),), hosts=(node.name,)
    )
    pki.ensure_kubeconfig(cluster, node.folder / "kubeconfig", subject)
    serving = pki.ensure_pair(cluster, node.name, subject)
    # Kubelets search here for Localhost profiles.
    profiles = node.folder / "kubelet" / "seccomp"
    profiles.mkdir(parents=True, exist_ok=True)
    write_text(profiles / SECCOMP.name, SECCOMP.read_text())
    write_text(node.folder / "kubelet.yaml", configuration.kubelet(cluster, node, serving))
    runc = programs.path("runc")
    text = configuration.containerd(cluster, node, pause=pause_image(cluster), runc=runc)
    write_text(node.folder / "containerd.toml", text)
