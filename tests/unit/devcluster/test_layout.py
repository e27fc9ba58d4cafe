from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster import layout
from devcluster.layout import Cluster

NAMES = st.from_regex(layout.NAME, fullmatch=True)


def made(name: str) -> Cluster:
    return layout.cluster(name, Path("/state"))


def test_everything_of_dev_follows_from_its_name() -> None:
    cluster = made("dev")
    assert str(cluster.network) == "198.18.104.0/22"
    assert str(cluster.host_address) == "198.18.104.1"
    assert cluster.api_url == "https://198.18.104.2:6443"
    assert str(cluster.service_range) == "198.18.105.0/24"
    assert str(cluster.pod_range) == "198.18.106.0/23"
    assert [node.name for node in cluster.nodes] == ["dev-amd64", "dev-arm64"]
    assert [str(node.address) for node in cluster.nodes] == ["198.18.104.2", "198.18.104.3"]
    assert [node.cgroup for node in cluster.nodes] == ["/kube-builder-dev/amd64", "/kube-builder-dev/arm64"]
    assert cluster.state == Path("/state/dev")


@given(NAMES)
def test_ranges_lie_apart_within_the_test_network(name: str) -> None:
    cluster = made(name)
    ranges = [cluster.link, cluster.service_range, cluster.pod_range]
    assert all(part.subnet_of(cluster.network) for part in ranges)
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))
    assert cluster.network.subnet_of(layout.TEST_NETWORK)
    assert {cluster.host_address, *(node.address for node in cluster.nodes)} <= set(cluster.link.hosts())


@given(NAMES)
def test_interface_names_fit_the_kernel(name: str) -> None:
    assert len(made(name).outer_interface) < 16


def test_usual_names_do_not_clash() -> None:
    names = ("dev", "probe", "demo", "test", "bench", "ci")
    assert len({made(name).network for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "1st", "-a", "a-", "A", "a_b", "a/b", "..", "x" * 21])
def test_names_that_fit_nowhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        layout.cluster(name, Path("/state"))


def test_state_can_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_BUILDER_STATE", "/elsewhere")
    assert layout.cluster("dev").state == Path("/elsewhere/dev")
    monkeypatch.delenv("KUBE_BUILDER_STATE")
    assert layout.cluster("dev").state.is_relative_to("/var/lib")
