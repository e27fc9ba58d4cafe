import json
import tomllib
from pathlib import Path

import yaml

from devcluster import configuration, layout

CLUSTER = layout.cluster("dev", Path("/state"))
AMD64, ARM64 = CLUSTER.nodes


def test_containerd_uses_its_own_folders_and_the_clusters_mirrors() -> None:
    text = configuration.containerd(CLUSTER, ARM64, pause="198.18.104.2:5000/pause:1", runc=Path("/cache/runc"))
    config = tomllib.loads(text)
    images = config["plugins"]["io.containerd.cri.v1.images"]
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert config["version"] == 3
    assert config["grpc"]["address"] == str(ARM64.socket)
    assert {config["root"], config["state"]} == {"/state/dev/nodes/arm64/root", "/state/dev/nodes/arm64/state"}
    assert images["pinned_images"] == {"sandbox": "198.18.104.2:5000/pause:1"}
    assert images["registry"] == {"config_path": "/state/dev/configuration/certs.d"}
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["netns_mounts_under_state_dir"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"] == {"BinaryName": "/cache/runc"}


def test_registry_hosts_name_the_authority_of_tls_registries_only() -> None:
    plain = tomllib.loads(configuration.registry_hosts("http://198.18.104.2:5000"))
    secure = tomllib.loads(configuration.registry_hosts("https://198.18.104.2:5001", ca=Path("/state/ca.crt")))
    assert plain["host"]["http://198.18.104.2:5000"] == {"capabilities": ["pull", "resolve"]}
    assert secure["host"]["https://198.18.104.2:5001"]["ca"] == "/state/ca.crt"


def test_kubelets_listen_on_their_own_addresses_and_own_their_cgroups() -> None:
    pair = (Path("/crt"), Path("/key"))
    configs = [json.loads(configuration.kubelet(CLUSTER, node, pair)) for node in CLUSTER.nodes]
    for key in ("address", "healthzBindAddress", "cgroupRoot", "containerRuntimeEndpoint", "podLogsDir"):
        assert len({config[key] for config in configs}) == 2, key
    assert configs[0]["clusterDNS"] == ["198.18.105.10"]
    assert configs[0]["authentication"]["anonymous"] == {"enabled": False}
    assert configs[0]["authorization"] == {"mode": "Webhook"}
    assert sum(config["maxPods"] for config in configs) < CLUSTER.pod_range.num_addresses


def test_pods_share_one_address_pool() -> None:
    (plugin,) = json.loads(configuration.pod_network(CLUSTER))["plugins"]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "198.18.106.0/23"}]]
    assert plugin["ipam"]["dataDir"].startswith("/state/dev/")


def test_kube_proxy_leaves_the_hosts_sysctls_alone() -> None:
    config = yaml.safe_load(configuration.kube_proxy(CLUSTER, Path("/kubeconfig")))
    assert set(config["conntrack"].values()) == {0, "0s"}
    assert config["clusterCIDR"] == "198.18.106.0/23"


def test_dns_answers_for_the_cluster_before_it_denies_everything_else() -> None:
    text = configuration.corefile(CLUSTER, Path("/kubeconfig"))
    inside, outside = text.split("\n.:53 {")
    assert "kubernetes cluster.local in-addr.arpa" in inside
    assert "NXDOMAIN" not in inside
    assert "NXDOMAIN" in outside
    assert "forward" not in text
