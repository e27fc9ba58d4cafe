from pathlib import Path

import pytest

from bench import machine

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:22 / /run rw - tmpfs tmpfs rw
159 27 7:0 / /mnt/a\\040state rw,relatime shared:3 - ext4 /dev/loop0 rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("/mnt/a state/dev", "ext4"), ("/mnt/a stated", "ext4 without a journal"), ("/run/state", "tmpfs")],
)
def test_the_file_system_of_a_folder(tmp_path: Path, folder: str, expected: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS)
    (tmp_path / "proc/fs/jbd2/loop0-8").mkdir(parents=True)
    assert machine.describe_filesystem(Path(folder), tmp_path) == expected


def test_a_kernel_without_journals(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS)
    assert machine.describe_filesystem(Path("/home"), tmp_path) == "ext4 without a journal"


def test_this_machine() -> None:
    assert machine.describe_filesystem(Path("/proc/self")) == "proc"
