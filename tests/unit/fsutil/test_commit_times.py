"""Commit times against real repositories, and what else says when a file is from."""

import os
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.fsutil import commit_times, mtimes
from ci_buildx.fsutil.walk import walk_tree
from tests.unit.fsutil.repositories import Repository

SECOND = 10**9


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty git repository."""
    return Repository(tmp_path / "r")


def seconds(folder: Path) -> dict[str, int]:
    times = commit_times.read_commit_times(folder, source="--context-mtime").times
    return {os.fsdecode(path): time // SECOND for path, time in times.items()}


def test_each_file_has_the_time_of_its_last_commit(repository: Repository) -> None:
    repository.write(a="1", d__b="1", d__e__c="1", **{"odd name\n\x01": "1"})
    first = repository.commit()
    repository.write(a="2")
    second = repository.commit()
    repository.commit("empty")
    assert seconds(repository.folder) == {
        "a": second,
        "d": first,
        "d/b": first,
        "d/e": first,
        "d/e/c": first,
        "odd name\n\x01": first,
    }


def test_a_folder_in_the_repository(repository: Repository) -> None:
    repository.write(a="1", d__b="1", d__e__c="1")
    repository.commit()
    repository.write(d__e__c="2")
    second = repository.commit()
    repository.write(a="2")
    repository.commit()
    assert seconds(repository.folder / "d") == {"b": second - 3600, "e": second, "e/c": second}


def test_what_is_not_as_committed_keeps_its_time(repository: Repository) -> None:
    repository.write(changed="1", staged="1", assumed="1", skipped="1", kept="1")
    time = repository.commit()
    repository.git("update-index", "--assume-unchanged", "assumed")
    repository.git("update-index", "--skip-worktree", "skipped")
    repository.write(changed="2", staged="2", assumed="2", skipped="2", untracked="1")
    repository.git("add", "staged")
    assert seconds(repository.folder) == {"kept": time}


def test_merges_count_where_they_differ_from_all_parents(repository: Repository) -> None:
    repository.write(ours="1", both="1")
    repository.commit()
    repository.git("checkout", "-q", "-b", "side")
    repository.write(both="side", theirs="1")
    side = repository.commit()
    repository.git("checkout", "-q", "main")
    repository.write(both="main", ours="2")
    main = repository.commit()
    repository.git("merge", "-q", "--no-commit", "-X", "ours", "side")
    repository.write(both="merged")
    merged = repository.commit()
    assert seconds(repository.folder) == {"ours": main, "theirs": side, "both": merged}


def test_files_that_differ_never_share_a_time(repository: Repository) -> None:
    """buildkitd would take one for the other: it compares sizes and times."""
    repository.write(a="1", b="2", c="1")
    repository.commit()
    times = commit_times.read_commit_times(repository.folder, source="x").times
    assert times[b"a"] == times[b"c"] != times[b"b"]
    assert all(time % SECOND < SECOND // 2 for time in times.values())


def test_a_second_clone_has_the_same_times(repository: Repository, tmp_path: Path) -> None:
    repository.write(a="1", d__b="2")
    repository.commit()
    other = repository.clone(tmp_path / "clone")
    found = commit_times.read_commit_times(other.folder, source="x")
    assert found == commit_times.read_commit_times(repository.folder, source="x")
    assert not found.shallow


def test_a_shallow_clone_says_so(repository: Repository, tmp_path: Path) -> None:
    repository.write(a="1")
    repository.commit()
    repository.write(b="1")
    last = repository.commit()
    shallow = repository.clone(tmp_path / "shallow", "--depth=1")
    assert commit_times.read_commit_times(shallow.folder, source="x").shallow
    assert seconds(shallow.folder) == {"a": last, "b": last}


@pytest.mark.parametrize("kind", ["none", "unborn"])
def test_no_repository(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if kind == "unborn":
        Repository(tmp_path)
    with pytest.raises(InputError, match=r"^--context-mtime: .*: git rev-parse failed: fatal: .*; run the build"):
        commit_times.check_repository(tmp_path, source="--context-mtime")


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cannot run git: it is not installed"):
        commit_times.check_repository(tmp_path, source="x")


def test_entries_are_retimed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(5, 5))
    entries = mtimes.set_mtimes(walk_tree(tmp_path), mtimes.make_path_clock({b"a": 7}))
    assert {entry.path: entry.mtime for entry in entries} == {b"a": 7, b"b": 5}


def test_one_time_for_everything(tmp_path: Path) -> None:
    for name, text in {"a": "1", "b": "2", "c": "1", "empty": ""}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "unreadable").symlink_to("missing")
    entries = mtimes.set_mtimes(walk_tree(tmp_path), mtimes.make_fixed_clock(tmp_path, 100))
    times = {entry.path.decode(): entry.mtime for entry in entries}
    assert {time // SECOND for time in times.values()} == {100}
    assert times["a"] == times["c"] != times["b"]
    assert times["d"] == times["link"] == times["unreadable"] == times["empty"] == 100 * SECOND
    assert all(time % SECOND < SECOND // 2 for time in times.values())
