"""Contexts for uploads, and what is read of their transfers."""

from pathlib import Path

import pytest

from bench import content
from bench.lines.upload import transfer
from bench.measure import CommandFailed, Run

OUTPUT = """\
#4 [internal] load .dockerignore
#4 transferring context: 2B 0.0s done
#5 [internal] load build context
#5 transferring context: 98.3MB 1.2s
#5 transferring context: 210.35MB 2.4s done
#5 DONE 2.5s
"""


def test_content_is_the_same_in_each_run(tmp_path: Path) -> None:
    for name in ("one", "other"):
        content.make(tmp_path / name, big=3_000_000, count=250)
    one, other = (
        {path.name: path.read_bytes() for path in content.small_files(tmp_path / name, 250)}
        for name in ("one", "other")
    )
    assert one == other
    assert len(set(one.values())) == 250
    assert (tmp_path / "one" / "big").stat().st_size == 3_000_000


def test_touching_changes_the_small_files_only(tmp_path: Path) -> None:
    content.make(tmp_path / "made", big=10, count=3)
    before = (tmp_path / "made" / "big").stat().st_mtime_ns
    content.touch(tmp_path / "made", 1_000_000.0, count=3)
    assert {path.stat().st_mtime for path in content.small_files(tmp_path / "made", 3)} == {1_000_000.0}
    assert (tmp_path / "made" / "big").stat().st_mtime_ns == before


def test_the_transfer_is_the_contexts_own() -> None:
    assert transfer(Run(seconds=3.0, output=OUTPUT)) == 2.4


def test_an_output_without_a_transfer_is_refused() -> None:
    with pytest.raises(CommandFailed, match="no transfer"):
        transfer(Run(seconds=3.0, output="#5 DONE 2.5s\n"))
