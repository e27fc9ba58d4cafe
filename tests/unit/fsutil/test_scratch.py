"""Folders of processes that were killed go; those of processes that live, and of others, stay."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ci_buildx.ci.gitlab import inputs
from ci_buildx.fsutil import entry, scratch
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.fsutil.target import TargetFolder
from ci_buildx.model import secret
from ci_buildx.session.oci_layout import OciLayout

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


HOLD_DRAFT = """
import sys, time
from pathlib import Path
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.fsutil.target import TargetFolder
target = TargetFolder(Path(sys.argv[1]))
target.make_folder(TreeEntry(b"inner", 0o755 | 1 << 31))
drafts = [target.open(TreeEntry(path, 0o644)) for path in (b"file", b"inner/file")]
print("begun", flush=True)
time.sleep(600)
"""


def test_drafts_of_a_killed_export_go_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the folder and of those in it; those of an export that is under way stay, and those that are young."""
    process = subprocess.Popen([sys.executable, "-c", HOLD_DRAFT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    drafts = sorted(tmp_path.rglob(".kube-builder.*.part"))
    assert [path.parent.name for path in drafts] == [tmp_path.name, "inner"]
    (tmp_path / ".kube-builder.0.part").write_text("the user's")
    (tmp_path / os.fsdecode(scratch.name_draft())).symlink_to("nowhere")

    def export() -> list[str]:
        target = TargetFolder(tmp_path)
        target.make_folder(TreeEntry(b"inner", entry.DIRECTORY | 0o755))
        target.close()
        return sorted(path.name for path in tmp_path.rglob(".kube-builder.*"))

    assert len(export()) == 4
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert export() == sorted((".kube-builder.0.part", *(path.name for path in drafts)))
    process.kill()
    process.communicate()
    assert export() == [".kube-builder.0.part"]


def test_blobs_of_a_killed_import_go_with_the_next_one(tmp_path: Path) -> None:
    left = scratch.name_partial(tmp_path / "ingest" / "blob")
    left.parent.mkdir()
    left.write_text("half")
    os.utime(left, LONG_AGO)
    with OciLayout(tmp_path, writable=True).ingest(""):
        assert not left.exists()
        assert len(list((tmp_path / "ingest").iterdir())) == 1
    assert list((tmp_path / "ingest").iterdir()) == []


DAY = 86400.0
SHARED = (scratch.DOCKER, scratch.BAKE, scratch.KUBECONFIG)


@pytest.mark.parametrize("prefix", SHARED)
@pytest.mark.parametrize(("days", "goes"), [(5.0, False), (6.1, True)])
def test_what_later_steps_use_goes_when_no_job_can_run_any_more(
    prefix: str, days: float, goes: bool, tmp_path: Path
) -> None:
    path = scratch.name_shared(prefix, str(tmp_path))
    if prefix == scratch.KUBECONFIG:
        path.write_text("kind: Config")
    else:
        path.mkdir()
        (path / "config.json").write_text("{}")
    os.utime(path, (time.time() - days * DAY,) * 2)
    scratch.sweep(tmp_path)
    assert path.exists() is not goes


@pytest.mark.parametrize(("days", "goes"), [(29.0, False), (31.0, True)])
def test_reports_of_crashes_go_after_a_month(
    days: float, goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.open_report() as stream:
        stream.write("Traceback")
    path = Path(stream.name)
    assert path.stat().st_mode & 0o777 == 0o600
    os.utime(path, (time.time() - days * DAY,) * 2)
    scratch.sweep(tmp_path)
    assert path.exists() is not goes


def test_a_folder_of_a_killed_gitlab_job_goes_and_one_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"{scratch.JOB}abc1234"
    left.mkdir()
    with inputs.open_private_folder("xyz5678") as used:
        for path in (left, used):
            os.utime(path, LONG_AGO)
        scratch.sweep(tmp_path)
        assert (left.exists(), used.exists()) == (False, True)
    assert list(tmp_path.iterdir()) == []


def test_keys_that_had_to_be_in_a_file_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system without memfd."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create")
    with secret.open_private_file(b"key") as name:
        path = Path(name)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"key", 0o600)
        os.utime(path, LONG_AGO)
        copy = path.with_name(f"{secret.PREFIX}left")
        shutil.copy2(path, copy)
    scratch.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [tmp_path / f"{scratch.PREFIX}{'0' * 12}", tmp_path / f"{scratch.DOCKER}{'0' * 16}"]
    for path in left:
        path.mkdir()
        os.utime(path, LONG_AGO)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    scratch.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(left)


def test_the_runners_folder_is_swept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / f"{scratch.DOCKER}{'0' * 16}"
    left.mkdir()
    os.utime(left, LONG_AGO)
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    scratch.sweep_all()
    assert not left.exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    left = scratch.name_partial(path)
    left.write_text("half")
    os.utime(left, LONG_AGO)
    scratch.replace(path, b"whole", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"whole", 0o600)
    with pytest.raises(TypeError):
        scratch.replace(path, "no bytes")  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"whole"


def test_names_of_temporary_files_are_made_in_one_place() -> None:
    """Else nobody would sweep them: whoever needs one asks scratch."""
    package = Path(scratch.__file__).parents[1]
    makers = re.compile(r"\btempfile\b|mkdtemp|mkstemp|\.(?:part|draft)[\"']|getpid\(\)")
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if makers.search(path.read_text())}
    assert found <= {"fsutil/scratch.py", "model/secret.py"}


def test_sockets_go_where_their_paths_are_short_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + 100 * "x")
    monkeypatch.setenv("TMPDIR", "/short")
    assert scratch.list_socket_bases("s") == ["/short", "/tmp"]


@pytest.mark.parametrize("name", ["s", "arm64.sock", f"{'n' * 40}.sock"])
def test_a_socket_can_be_made_where_its_path_is_as_long_as_allowed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        for base in (Path(short) / ("x" * length) for length in reversed(range(1, 100))):
            monkeypatch.setenv("TMPDIR", str(base))
            if str(base) in scratch.list_socket_bases(name):
                break
        folder = scratch.name_shared(scratch.SOCKETS, str(base))
        folder.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / name))
        with scratch.open_folder(base) as other, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(other / name))
