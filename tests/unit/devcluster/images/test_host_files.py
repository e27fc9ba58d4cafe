import os
from pathlib import Path

import pytest

from devcluster.images import host_files
from devcluster.images.layer import Entry, File, Link


def test_a_program_comes_with_loader_and_libraries() -> None:
    paths = [entry.path for entry in host_files.program(Path("/bin/ls"))]
    assert paths[0] == "/bin/ls"
    assert any("/ld-linux" in path for path in paths)
    assert any(path.endswith("/libc.so.6") for path in paths)


def test_what_is_no_dynamic_program_loads_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh")
    (entry,) = host_files.program(script, at="/bin/sh", capability=1)
    assert entry == File(path="/bin/sh", source=script, mode=0o755, capability=1)


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


def test_a_dated_folder_keeps_times(tmp_path: Path) -> None:
    (tmp_path / "module.py").touch()
    os.utime(tmp_path / "module.py", (7, 1_700_000_000.9))
    times = [
        [entry.modified for entry in host_files.folder(tmp_path, dated=dated) if isinstance(entry, File)]
        for dated in (False, True)
    ]
    assert times == [[0], [1_700_000_000]]
