"""What was not built is removed from a folder; what is outside of it never is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.fsutil.target import TargetFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files of an earlier build; another folder beside it must stay unchanged."""
    folder = tmp_path / "root"
    (folder / "kept/inner").mkdir(parents=True)
    (folder / "kept/inner/file").write_text("built")
    (folder / "kept/stale").write_text("old")
    (folder / "old/deep").mkdir(parents=True)
    (folder / "old/deep/file").write_text("old")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("x")
    return folder


@pytest.fixture
def target(root: Path) -> Iterator[TargetFolder]:
    """``root`` as the target of a build's files."""
    made = TargetFolder(root)
    yield made
    made.close()


KEPT = {b"kept", b"kept/inner", b"kept/inner/file"}


def left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_only_what_is_kept_stays(root: Path, target: TargetFolder) -> None:
    target.prune(KEPT)
    assert left(root) == ["kept", "kept/inner", "kept/inner/file"]


def test_nothing_is_kept(root: Path, target: TargetFolder) -> None:
    target.prune(set())
    assert left(root) == []


def test_links_that_lead_out_are_removed_and_not_followed(root: Path, target: TargetFolder) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    (root / "kept/link").symlink_to("../../outside", target_is_directory=True)
    (root / "old/link").symlink_to(root.parent / "outside")
    target.prune(KEPT)
    assert left(root) == ["kept", "kept/inner", "kept/inner/file"]
    assert (root.parent / "outside/precious").exists()


def test_a_link_that_was_built_stays_and_is_not_entered(root: Path, target: TargetFolder) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    target.prune({*KEPT, b"link"})
    assert left(root)[-1] == "link"
    assert (root.parent / "outside/precious").exists()


def test_names_that_are_no_text(root: Path, target: TargetFolder) -> None:
    name = os.fsencode(root) + b"/\xff"
    Path(os.fsdecode(name)).touch()
    Path(os.fsdecode(name + b"\n")).touch()
    target.prune({*KEPT, b"\xff"})
    assert {os.fsencode(entry) for entry in os.listdir(root)} == {b"kept", b"\xff"}  # noqa: PTH208


def test_a_deep_tree(root: Path, target: TargetFolder) -> None:
    deep, kept = b"", set()
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
        deep = deep + b"/d" if deep else b"d"
        kept.add(deep)
    os.mkdir("stale", dir_fd=descriptor)
    target.prune(kept)
    assert os.listdir(descriptor) == []  # noqa: PTH208
    os.close(descriptor)
    target.prune(set())
    assert left(root) == []
