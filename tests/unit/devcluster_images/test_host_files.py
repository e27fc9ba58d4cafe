import subprocess
from pathlib import Path

import pytest

from devcluster.images import host_files, layer
from devcluster.images.layer import Entry, File, Link


def test_a_program_comes_with_what_it_loads(tmp_path: Path) -> None:
    """Proven by running git from nothing but the collected files."""
    entries = [*host_files.program(Path("/usr/bin/git")), File(path="/dev/null", source=b"", mode=0o666)]
    with (tmp_path / "layer.tar").open("w+b") as stream:
        layer.write(entries, stream)
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "layer.tar", "-C", root], check=True)
    isolated = ["unshare", "--user", "--map-root-user", "chroot", str(root), "/usr/bin/git", "--version"]
    done = subprocess.run(isolated, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.startswith("git version"), done.stderr


def test_a_static_program_loads_nothing() -> None:
    assert list(host_files.libraries(Path("/usr/bin/busybox"))) == []


def test_a_program_can_move() -> None:
    (entry,) = host_files.program(Path("/usr/bin/busybox"), at="/bin/sh", capability=1)
    assert entry == File(path="/bin/sh", source=Path("/usr/bin/busybox"), mode=0o755, capability=1)


def test_a_folder_keeps_links_and_modes_and_loses_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "__pycache__").mkdir(parents=True)
    (tmp_path / "a" / "__pycache__" / "x.pyc").touch()
    (tmp_path / "a" / "program").touch(mode=0o777)
    (tmp_path / "a" / "link").symlink_to("program")
    expected: list[Entry] = [
        Link(path="/opt/a/link", target="program"),
        File(path="/opt/a/program", source=tmp_path / "a" / "program", mode=0o755),
    ]
    assert list(host_files.folder(tmp_path, "/opt", without=("__pycache__",))) == expected


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(host_files.folder(tmp_path / "absent"))
