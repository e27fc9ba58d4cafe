"""On folders that look like cgroup file systems."""

from pathlib import Path

import pytest

from devcluster import cgroups, layout

CLUSTER = layout.cluster("dev", Path("/state"))


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A host's folder of cgroups of version 1, with a unified hierarchy beside them."""
    for name in ("cpuset", "memory", "unified"):
        write(tmp_path / name / "cgroup.procs")
        write(tmp_path / name / "tasks")
    (tmp_path / "cpu").symlink_to("cpuset")
    write(tmp_path / "cpuset" / "cpuset.cpus", "0-1\n")
    write(tmp_path / "cpuset" / "cpuset.mems", "0\n")
    return tmp_path


def test_each_hierarchy_of_version_1_gets_both_nodes(version_1: Path) -> None:
    cgroups.create(CLUSTER, version_1)
    for hierarchy in ("cpuset", "memory", "unified"):
        for node in ("amd64", "arm64"):
            assert (version_1 / hierarchy / "kube-builder-dev" / node).is_dir()


def test_a_new_cpuset_takes_its_parents_processors(version_1: Path) -> None:
    fresh = version_1 / "cpuset" / "kube-builder-dev"
    for name in ("cpuset.cpus", "cpuset.mems", "tasks"):
        write(fresh / name)
    cgroups.inherit_cpuset(fresh)
    assert (fresh / "cpuset.cpus").read_text() == "0-1\n"
    assert (fresh / "cpuset.mems").read_text() == "0\n"


def test_the_unified_hierarchy_offers_its_controllers_downwards(tmp_path: Path) -> None:
    write(tmp_path / "cgroup.controllers", "cpu io memory misc pids rdma\n")
    write(tmp_path / "cgroup.subtree_control", "cpu\n")
    assert cgroups.hierarchies(tmp_path) == [tmp_path]
    cgroups.delegate(tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+io +memory +pids"


def test_processes_of_all_depths_are_found(version_1: Path) -> None:
    write(version_1 / "memory/kube-builder-dev/cgroup.procs", "")
    write(version_1 / "memory/kube-builder-dev/amd64/kubepods/pod1/cgroup.procs", "11\n12\n")
    write(version_1 / "cpuset/kube-builder-dev/arm64/cgroup.procs", "13\n")
    write(version_1 / "cpuset/kube-builder-other/cgroup.procs", "14\n")
    assert cgroups.processes(CLUSTER, version_1) == {11, 12, 13}


def test_remove_takes_children_before_parents_and_is_safe_to_repeat(version_1: Path) -> None:
    cgroups.create(CLUSTER, version_1)
    (version_1 / "memory/kube-builder-dev/amd64/kubepods/pod1").mkdir(parents=True)
    for _ in range(2):
        cgroups.remove(CLUSTER, version_1)
        assert list(version_1.glob("*/kube-builder-dev")) == []
