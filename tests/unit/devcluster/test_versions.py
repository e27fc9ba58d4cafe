"""Which Kubernetes a cluster has."""

import re
from pathlib import Path

import pytest

from devcluster import components, programs, versions
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

OTHER = next(minor for minor in programs.KUBERNETES if minor != programs.DEFAULT)


@pytest.fixture
def new_cluster(tmp_path: Path) -> Cluster:
    """A cluster that was never started."""
    return Cluster(name="dev", state=tmp_path / "dev")


def test_a_new_cluster_has_the_default_version_unless_another_is_wanted(new_cluster: Cluster) -> None:
    assert versions.read(new_cluster) == programs.DEFAULT in programs.KUBERNETES
    assert versions.choose(new_cluster, None) == programs.DEFAULT
    assert versions.choose(new_cluster, OTHER) == OTHER


def test_a_later_start_keeps_the_version(new_cluster: Cluster) -> None:
    versions.record(new_cluster, OTHER)
    assert versions.choose(new_cluster, None) == versions.choose(new_cluster, OTHER) == OTHER
    with pytest.raises(
        DevclusterError, match=rf"'dev' has Kubernetes {re.escape(OTHER)}: remove it with `.* --name dev down`"
    ):
        versions.choose(new_cluster, programs.DEFAULT)


def test_an_unknown_version_is_refused_with_those_that_are_known(new_cluster: Cluster) -> None:
    with pytest.raises(DevclusterError, match=r"unknown version '1\.2' of Kubernetes; known: 1\.34, 1\.37"):
        versions.choose(new_cluster, "1.2")


def test_all_components_come_from_the_clusters_version(new_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "path", lambda name: Path("/cache") / name)
    new_cluster.state.mkdir()
    place = new_cluster.state / "some.yaml"
    place.touch()

    def list_programs() -> set[str]:
        commands = (
            components.etcd(new_cluster),
            components.api_server(new_cluster),
            components.controller_manager(new_cluster, place),
            components.scheduler(new_cluster, place),
            components.kube_proxy(new_cluster, place),
            components.kubelet(new_cluster, new_cluster.nodes[0], place, place),
        )
        return {Path(command.argv[0]).name for command in commands}

    names = set(programs.kubernetes(programs.DEFAULT).files)
    assert list_programs() == names
    versions.record(new_cluster, OTHER)
    assert list_programs() == {f"{name}-{OTHER}" for name in names}


@pytest.mark.parametrize("minor", programs.KUBERNETES)
def test_the_module_pins_the_release(minor: str) -> None:
    module = (programs.MODULES / f"kubernetes-{minor}" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{programs.KUBERNETES[minor]}\n" in module
    assert f"k8s.io/api => k8s.io/api v0.{programs.KUBERNETES[minor].removeprefix('1.')}\n" in module
