"""Command lines of the cluster's processes."""

from pathlib import Path

from devcluster import issuer, programs, versions
from devcluster.layout import API_PORT, Cluster, Node
from devcluster.processes import Command

ETCD = "http://127.0.0.1:2379"
ETCD_PEER = "http://127.0.0.1:2380"
ADMISSION = ("PodSecurity", "NodeRestriction", "ResourceQuota", "LimitRanger", "MutatingAdmissionPolicy")
FEATURES = ("MutatingAdmissionPolicy=true",)
APIS = ("admissionregistration.k8s.io/v1beta1=true",)


def etcd(cluster: Cluster) -> Command:
    """Return etcd's command. It does not sync to disk: a development cluster may lose its last second."""
    return _kubernetes(
        cluster,
        "etcd",
        data_dir=cluster.state / "etcd",
        listen_client_urls=ETCD,
        advertise_client_urls=ETCD,
        listen_peer_urls=ETCD_PEER,
        initial_advertise_peer_urls=ETCD_PEER,
        initial_cluster=f"default={ETCD_PEER}",
        unsafe_no_fsync="true",
        log_level="warn",
    )


def api_server(cluster: Cluster) -> Command:
    """Return the API server's command, with RBAC and, by its defaults, PodSecurity admission."""
    pki = cluster.pki
    return _kubernetes(
        cluster,
        "kube-apiserver",
        etcd_servers=ETCD,
        bind_address="0.0.0.0",
        secure_port=API_PORT,
        advertise_address=cluster.address,
        service_cluster_ip_range=cluster.service_range,
        allow_privileged="true",
        authorization_mode="Node,RBAC",
        enable_admission_plugins=",".join(ADMISSION),
        feature_gates=",".join(FEATURES),
        runtime_config=",".join(APIS),
        client_ca_file=pki / "ca.crt",
        tls_cert_file=pki / "api.crt",
        tls_private_key_file=pki / "api.key",
        kubelet_certificate_authority=pki / "ca.crt",
        kubelet_client_certificate=pki / "api-kubelet.crt",
        kubelet_client_key=pki / "api-kubelet.key",
        kubelet_preferred_address_types="InternalIP",
        authentication_config=issuer.authentication_file(cluster),
        service_account_issuer="https://kubernetes.default.svc",
        service_account_key_file=pki / "accounts.pub",
        service_account_signing_key_file=pki / "accounts.key",
    )


def controller_manager(cluster: Cluster, kubeconfig: Path) -> Command:
    """Return the controller manager's command, with the provisioner of the default StorageClass.

    A cluster node that has become ready keeps its taint until the next check, so checks are frequent. The controllers
    start one by one, each with requests: at the default rate that takes three seconds.
    """
    return _kubernetes(
        cluster,
        "kube-controller-manager",
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=cluster.address,
        root_ca_file=cluster.pki / "ca.crt",
        service_account_private_key_file=cluster.pki / "accounts.key",
        use_service_account_credentials="true",
        cluster_cidr=cluster.pod_range,
        leader_elect="false",
        node_monitor_period="500ms",
        kube_api_qps=200,
        kube_api_burst=400,
        enable_hostpath_provisioner="true",
    )


def scheduler(cluster: Cluster, kubeconfig: Path) -> Command:
    """Return the scheduler's command."""
    return _kubernetes(
        cluster,
        "kube-scheduler",
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=cluster.address,
        leader_elect="false",
    )


def kube_proxy(cluster: Cluster, configuration: Path) -> Command:
    """Return kube-proxy's command: one for all cluster nodes, because they share a network namespace."""
    return _kubernetes(cluster, "kube-proxy", reads=(configuration,), config=configuration)


def coredns(configuration: Path) -> Command:
    """Return CoreDNS's command."""
    return command("coredns", reads=(configuration,), conf=configuration)


def containerd(configuration: Path) -> Command:
    """Return the command of a cluster node's container runtime; its shim must be on the path."""
    program = programs.path("containerd")
    path = f"{program.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    argv = (str(program), "--config", str(configuration))
    return Command(argv=argv, env={"PATH": path}, reads=(configuration,))


def kubelet(cluster: Cluster, node: Node, configuration: Path, kubeconfig: Path) -> Command:
    """Return the kubelet's command for a cluster node."""
    return _kubernetes(
        cluster,
        "kubelet",
        reads=(configuration,),
        config=configuration,
        kubeconfig=kubeconfig,
        hostname_override=node.name,
        node_ip=node.address,
        root_dir=node.folder / "kubelet",
    )


def _kubernetes(cluster: Cluster, program: str, *, reads: tuple[Path, ...] = (), **flags: object) -> Command:
    """Return the command of a program of the cluster's version of Kubernetes."""
    return command(f"{program}{programs.kubernetes(versions.read(cluster)).suffix}", reads=reads, **flags)


def command(program: str, *, reads: tuple[Path, ...] = (), **flags: object) -> Command:
    """Return the command of a built program with `--flag=value` arguments."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return Command(argv=(str(programs.path(program)), *arguments), reads=reads)
