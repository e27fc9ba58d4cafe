"""Configuration files of the cluster's programs, as pure functions of the cluster."""

import json
from collections.abc import Mapping
from pathlib import Path

from devcluster.layout import Cluster, Node

CNI_PROGRAMS = Path("/usr/lib/cni")
DOMAIN = "cluster.local"
KUBELET_HEALTH_PORT = 10248


def containerd(cluster: Cluster, node: Node, *, pause: str, runc: Path) -> str:
    """Return containerd's configuration (version 3, docs/cri/config.md of containerd 2.4).

    `restrict_oom_score_adj`: without it, sandboxes cannot start if CAP_SYS_RESOURCE is missing. AppArmor is off because
    its profiles would be loaded into the host's kernel and stay there. NRI is off because its socket has a fixed path,
    on which two instances would conflict.
    """
    return f"""\
version = 3
root = "{node.folder}/root"
state = "{node.folder}/state"

[grpc]
  address = "{node.socket}"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{pause}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{cluster.configuration}/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stats_collect_period = "10s"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{CNI_PROGRAMS}"]
    conf_dir = "{cluster.configuration}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.internal.v1.opt']
  path = "{node.folder}/opt"
"""


def registry_hosts(server: str, *, ca: Path | None = None) -> str:
    """Return a `hosts.toml` that sends pulls to `server`, a URL (containerd, docs/hosts.md)."""
    trust = f'  ca = "{ca}"\n' if ca else ""
    return f'server = "{server}"\n\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n{trust}'


def pod_network(cluster: Cluster) -> str:
    """Return the CNI configuration, which gives each pod its own routed veth pair.

    There is no bridge, so traffic between pods passes connection tracking even if br_netfilter is not loaded; otherwise
    replies of a service's pods would return untranslated.
    """
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": str(cluster.pod_range)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(cluster.state / "addresses"),
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    return as_json({"cniVersion": "1.0.0", "name": cluster.pod_network, "plugins": [plugin]})


def kubelet(cluster: Cluster, node: Node, certificate: tuple[Path, Path]) -> str:
    """Return the KubeletConfiguration.

    All listeners use the cluster node's own address, so that two kubelets can share one network namespace. Images are
    never garbage-collected and pods hardly ever evicted: the disk is the host's. cgroup v1 is accepted.
    """
    return as_json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": str(node.address),
            "healthzBindAddress": str(node.address),
            "healthzPort": KUBELET_HEALTH_PORT,
            "tlsCertFile": str(certificate[0]),
            "tlsPrivateKeyFile": str(certificate[1]),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{node.socket}",
            "clusterDNS": [str(cluster.dns_service)],
            "clusterDomain": DOMAIN,
            "resolvConf": str(cluster.configuration / "resolv.conf"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": node.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "localStorageCapacityIsolation": True,
            "serializeImagePulls": False,
            "maxPods": cluster.pod_range.num_addresses // 2 - 6,
            "podLogsDir": str(node.folder / "pods"),
            "volumePluginDir": str(node.folder / "plugins"),
        }
    )


def kube_proxy(cluster: Cluster, kubeconfig: Path) -> str:
    """Return the KubeProxyConfiguration. Connection tracking limits of 0 leave the host's sysctls alone."""
    return as_json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": str(cluster.pod_range),
            "hostnameOverride": cluster.nodes[0].name,
            "bindAddress": str(cluster.address),
            "healthzBindAddress": f"{cluster.address}:10256",
            "metricsBindAddress": f"{cluster.address}:10249",
            "iptables": {"localhostNodePorts": False},
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
    )


def corefile(cluster: Cluster, kubeconfig: Path) -> str:
    """Return CoreDNS's configuration. Names outside the cluster do not exist: no packet leaves this machine.

    There are two zones because in a single one the template would answer before the cluster does (coredns 1.15,
    plugin.cfg).
    """
    return f"""\
{DOMAIN}:53 in-addr.arpa:53 {{
    bind {cluster.address}
    errors
    ready {cluster.address}:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}

.:53 {{
    bind {cluster.address}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def as_json(content: Mapping[str, object]) -> str:
    """Format a value as JSON, which is also YAML."""
    return json.dumps(content, indent=2) + "\n"
