"""Folders of processes that were killed go; those of processes that live, and of others, stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ci_buildx.fsutil import scratch

HOLD = """
import sys, time
from pathlib import Path
from ci_buildx.fsutil import scratch
with scratch.open_folder(Path(sys.argv[1])) as folder:
    (folder / "s").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""
LONG_AGO = (1_000_000_000, 1_000_000_000)


def hold(base: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(base)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, LONG_AGO)
    return process, folder


def test_a_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch.open_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "s").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_later_run_removes_what_a_killed_one_left_and_not_what_one_that_lives_uses(tmp_path: Path) -> None:
    process, folder = hold(tmp_path)
    scratch.sweep(tmp_path)
    assert folder.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder.exists()
    scratch.sweep(tmp_path)
    assert not folder.exists()


def test_what_is_not_provably_left_stays(tmp_path: Path) -> None:
    """Young folders, other names, links and files with such a name."""
    name = f"{scratch.PREFIX}{'0' * 11}"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("x")
    (tmp_path / f"{name}1").mkdir()
    (tmp_path / f"{name}2").symlink_to(tmp_path / "theirs")
    (tmp_path / f"{name}3").write_text("x")
    (tmp_path / f"{scratch.PREFIX}mine").mkdir()
    for path in (tmp_path / "theirs", tmp_path / f"{name}3", tmp_path / f"{scratch.PREFIX}mine"):
        os.utime(path, LONG_AGO)
    before = sorted(tmp_path.iterdir())
    scratch.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "theirs" / "file").exists()


def test_a_link_in_a_folder_that_is_removed_is_not_followed(tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / f"{scratch.PREFIX}{'0' * 12}"
    kept.mkdir()
    (kept / "file").write_text("x")
    left.mkdir()
    (left / "link").symlink_to(kept)
    os.utime(left, LONG_AGO)
    scratch.sweep(tmp_path)
    assert not left.exists()
    assert (kept / "file").exists()


def test_at_the_end_of_the_process_the_folders_of_all_threads_go(tmp_path: Path) -> None:
    """Threads that lost a race are still in theirs."""
    code = HOLD.replace("time.sleep(600)", "scratch.close()")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_killed_run_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    left, held, young = (scratch.name_partial(path) for _ in range(3))
    other = scratch.name_partial(tmp_path / "other.tar")
    for part in (left, held, young, other):
        part.write_text("x")
    for part in (left, held, other):
        os.utime(part, LONG_AGO)
    with held.open("rb") as stream:
        assert scratch.hold(stream.fileno())
        scratch.remove_partials(path)
    assert sorted(tmp_path.iterdir()) == sorted((held, young, other))


def test_a_place_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    scratch.sweep(tmp_path / "missing")


def test_sockets_go_where_their_paths_are_short_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + 100 * "x")
    monkeypatch.setenv("TMPDIR", "/short")
    assert scratch.list_socket_bases() == ["/short", "/tmp"]
