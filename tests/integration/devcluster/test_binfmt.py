"""Who registers an emulator with the kernel removes it, who finds one leaves it; shown on one that nobody uses here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import binfmt, layout
from devcluster.layout import Cluster

UNUSED = "qemu-xtensaeb"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(binfmt, "ENTRY", UNUSED)
    monkeypatch.setattr(binfmt, "DEFINITION", binfmt.DEFINITION.with_name(f"{UNUSED}.conf"))
    made = layout.cluster("first", tmp_path)
    made.state.mkdir()
    yield made
    binfmt.unregister(made)


def test_what_a_cluster_registers_goes_with_it(cluster: Cluster) -> None:
    binfmt.register(cluster)
    assert "F" in binfmt.flags(binfmt.read(cluster) or "")
    binfmt.unregister(cluster)
    assert binfmt.read(cluster) is None
    assert not binfmt.note(cluster).exists()


def test_the_last_of_several_clusters_removes_it(cluster: Cluster) -> None:
    binfmt.register(cluster)
    second = layout.cluster("second", cluster.state.parent)
    second.state.mkdir()
    binfmt.register(second)
    binfmt.unregister(second)
    assert binfmt.read(cluster)
    second.state.rmdir()
    binfmt.unregister(cluster)
    assert binfmt.read(cluster) is None


def test_a_registration_that_was_there_stays(cluster: Cluster, tmp_path: Path) -> None:
    binfmt.register(cluster)
    stranger = layout.cluster("stranger", tmp_path / "elsewhere")
    stranger.state.mkdir(parents=True)
    binfmt.register(stranger)
    binfmt.unregister(stranger)
    assert binfmt.read(cluster)


def test_a_note_of_an_earlier_boot_removes_nothing(cluster: Cluster) -> None:
    binfmt.register(cluster)
    binfmt.note(cluster).write_text("an earlier boot")
    binfmt.unregister(cluster)
    assert binfmt.read(cluster)
    binfmt.note(cluster).write_text(binfmt.BOOT.read_text())
