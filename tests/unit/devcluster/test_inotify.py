import json
from pathlib import Path

import pytest

from devcluster import inotify


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    """A file in the place of the kernel's setting, with its default."""
    file = tmp_path / "max_user_instances"
    file.write_text("128\n")
    return file


def test_the_last_cluster_sets_back_what_the_first_one_raised(tmp_path: Path, limit: Path) -> None:
    inotify.raise_limit(tmp_path, limit)
    inotify.raise_limit(tmp_path, limit)
    assert int(limit.read_text()) == inotify.WANTED
    inotify.restore_limit(tmp_path, limit)
    inotify.restore_limit(tmp_path, limit)
    assert int(limit.read_text()) == 128


def test_a_higher_limit_stays(tmp_path: Path, limit: Path) -> None:
    limit.write_text("8192\n")
    inotify.raise_limit(tmp_path, limit)
    inotify.restore_limit(tmp_path, limit)
    assert int(limit.read_text()) == 8192


def test_what_somebody_changed_meanwhile_stays(tmp_path: Path, limit: Path) -> None:
    inotify.raise_limit(tmp_path, limit)
    limit.write_text("2048\n")
    inotify.restore_limit(tmp_path, limit)
    assert int(limit.read_text()) == 2048


def test_a_note_of_an_earlier_boot_counts_for_nothing(tmp_path: Path, limit: Path) -> None:
    inotify.note(tmp_path).write_text(json.dumps({"boot": "an earlier one", "before": 64}))
    limit.write_text(f"{inotify.WANTED}\n")
    inotify.restore_limit(tmp_path, limit)
    assert int(limit.read_text()) == inotify.WANTED
    assert not inotify.note(tmp_path).exists()


def test_a_host_that_forbids_it_keeps_its_limit(tmp_path: Path, limit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: Path, _text: str) -> int:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    inotify.raise_limit(tmp_path, limit)
    assert int(limit.read_text()) == 128
    assert not inotify.note(tmp_path).exists()
