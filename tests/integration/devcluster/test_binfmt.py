"""The last cluster removes emulators that came with clusters, and no others; shown on ones that nobody uses here."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import binfmt, down, layout, namespaces
from devcluster.layout import Cluster

OURS, IMAGES = "qemu-xtensaeb", "qemu-xtensa"


@pytest.fixture
def own_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that registers OURS, beside the clusters that live here: what those have was there before."""
    monkeypatch.setattr(binfmt, "ENTRIES", (OURS,))
    made = layout.cluster("first", tmp_path / "clusters")
    made.state.mkdir(parents=True)
    yield made
    binfmt.unregister(made.state.parent)


def register_as_the_image_does() -> None:
    fields = binfmt.definition(IMAGES).split(":")
    program = Path("/usr/bin") / IMAGES
    program.symlink_to(f"{program}-static")
    try:
        rule = ":".join([*fields[:6], str(program), "CFP"])
        binfmt.within(None, f"cat > {namespaces.BINFMT}/register", text=rule)
    finally:
        program.unlink()


def test_what_a_cluster_registers_goes_with_it(own_cluster: Cluster) -> None:
    binfmt.register(own_cluster)
    assert "F" in binfmt.read()[OURS].flags
    binfmt.unregister(own_cluster.state.parent)
    assert OURS not in binfmt.read()
    assert not binfmt.note(own_cluster.state.parent).exists()


def test_what_the_binfmt_image_registers_goes_too(own_cluster: Cluster) -> None:
    before = set(binfmt.read())
    binfmt.register(own_cluster)
    register_as_the_image_does()
    assert IMAGES in binfmt.read()
    binfmt.register(own_cluster)
    binfmt.unregister(own_cluster.state.parent)
    assert set(binfmt.read()) == before


def test_the_last_of_several_clusters_removes_it(own_cluster: Cluster) -> None:
    second = layout.cluster("second", own_cluster.state.parent)
    second.state.mkdir()
    binfmt.register(second)
    down.remove_state(own_cluster)
    down.remove_shared(second.state.parent)
    assert OURS in binfmt.read()
    down.remove_state(second)
    down.remove_shared(second.state.parent)
    assert OURS not in binfmt.read()
    assert not second.state.parent.exists()


def test_a_registration_that_was_there_stays(own_cluster: Cluster, tmp_path: Path) -> None:
    binfmt.register(own_cluster)
    stranger = layout.cluster("stranger", tmp_path / "elsewhere")
    stranger.state.mkdir(parents=True)
    binfmt.register(stranger)
    binfmt.unregister(stranger.state.parent)
    assert OURS in binfmt.read()


def test_a_note_of_an_earlier_boot_removes_nothing(own_cluster: Cluster) -> None:
    binfmt.register(own_cluster)
    note = binfmt.note(own_cluster.state.parent)
    current = note.read_text()
    note.write_text(json.dumps({"boot": "an earlier one", "before": []}))
    binfmt.unregister(own_cluster.state.parent)
    assert OURS in binfmt.read()
    note.write_text(current)
