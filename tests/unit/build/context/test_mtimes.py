"""The times of a context's files, as `--context-mtime` chooses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.build.context.mtimes import read_folder_clocks, start_mtimes
from ci_buildx.errors import InputError
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.settings.values import BuildSettings, ContextMtime, NamedContext
from tests.unit.fsutil.repositories import Repository


def settings(folder: Path, mtime: ContextMtime, **more: object) -> BuildSettings:
    return BuildSettings(context=folder, dockerfile=folder / "Dockerfile", context_mtime=mtime, **more)  # type: ignore[arg-type]


def test_files_keep_their_times_by_default(tmp_path: Path) -> None:
    assert read_folder_clocks(settings(tmp_path, ContextMtime.KEEP)) == {}


def test_an_epoch_is_the_time_of_every_file_of_every_context(tmp_path: Path) -> None:
    other = NamedContext(name="other", location=tmp_path)
    (tmp_path / "file").touch()
    build = settings(tmp_path, ContextMtime.EPOCH, build_args=(("SOURCE_DATE_EPOCH", "1700000000"),), contexts=(other,))
    clocks = read_folder_clocks(build)
    assert set(clocks) == {"context", "other"}, "no image takes files from the folder of the Dockerfile"
    assert clocks["context"](TreeEntry(b"file", 0)) == 1_700_000_000 * 10**9


def test_with_git_each_file_has_the_time_of_its_last_commit(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "origin")
    repository.write(old="1", Dockerfile="FROM scratch")
    first = repository.commit()
    repository.write(new="2")
    second = repository.commit()
    started = start_mtimes(settings(repository.folder, ContextMtime.GIT), warn=pytest.fail)
    started.done.wait()
    clock = started.take_result()["context"]
    seconds = [clock(TreeEntry(name, 0)) // 10**9 for name in (b"old", b"new")]
    assert seconds == [first, second], "the fraction is that of the content"
    warnings: list[str] = []
    shallow = repository.clone(tmp_path / "shallow", "--depth=1")
    read_folder_clocks(settings(shallow.folder, ContextMtime.GIT), warn=warnings.append)
    assert "the clone is shallow, so old files have the time of its oldest commit" in warnings[0]


def test_without_a_repository_the_value_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="context-mtime"):
        start_mtimes(settings(tmp_path, ContextMtime.GIT), warn=pytest.fail)
