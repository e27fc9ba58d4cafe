"""Properties of the whole set of processes and objects, not of single flags."""

from pathlib import Path

import pytest

from devcluster import components, layout, objects, programs

CLUSTER = layout.cluster("dev", Path("/state"))


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every program look as if it were built."""
    monkeypatch.setattr(programs, "path", lambda name: Path("/cache") / name)


def test_flags_are_rendered_with_dashes() -> None:
    command = components.command("etcd", data_dir="/d", unsafe_no_fsync="true")
    assert command.argv == ("/cache/etcd", "--data-dir=/d", "--unsafe-no-fsync=true")


def test_the_api_server_enforces_rbac_and_verifies_kubelets() -> None:
    argv = components.api_server(CLUSTER).argv
    assert "--authorization-mode=Node,RBAC" in argv
    assert "--kubelet-certificate-authority=/state/dev/pki/ca.crt" in argv
    assert any("PodSecurity" in argument for argument in argv)


def test_the_store_is_out_of_pods_reach() -> None:
    assert all("127.0.0.1" in url for url in (components.ETCD, components.ETCD_PEER))


def test_containerd_finds_its_shim() -> None:
    command = components.containerd(Path("/containerd.toml"))
    assert command.env["PATH"].startswith("/cache:")


def test_only_the_foreign_node_needs_a_policy() -> None:
    things = objects.initial(CLUSTER)
    policies = [str(thing) for thing in things if thing["kind"] == "MutatingAdmissionPolicy"]
    assert len(policies) == 1
    assert '"kubernetes.io/arch": "arm64"' in policies[0]
    assert 'object.metadata.name == "dev-arm64"' in policies[0]


def test_dns_service_leads_to_the_clusters_address() -> None:
    service, endpoints = objects.dns_service(CLUSTER)
    assert "198.18.105.10" in str(service)
    assert "198.18.104.2" in str(endpoints)
