import os
from pathlib import Path

import pytest

from bench import machine

MOUNTS = b"""\
27 1 254:0 / / rw,relatime - ext4 /dev/root rw
28 27 0:22 / /run\\040\xff rw shared:3 master:1 - tmpfs tmpfs rw
29 27 252:1 / /mnt rw,relatime shared:3 - ext4 /dev/mapper/group-volume rw
"""


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder with the kernel's files: `vda` without a journal, the volume `dm-1` with one."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_bytes(MOUNTS)
    (tmp_path / "proc/fs/jbd2/dm-1-8").mkdir(parents=True)
    for device, name in (("254:0", "vda"), ("252:1", "dm-1")):
        (tmp_path / "sys/devices/virtual/block" / name).mkdir(parents=True)
        (tmp_path / "sys/dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block" / device).symlink_to(f"../../devices/virtual/block/{name}")
    return tmp_path


@pytest.mark.parametrize(("mount", "expected"), [(27, "ext4, no journal found"), (28, "tmpfs"), (29, "ext4"), (30, "")])
def test_the_file_system_of_a_mount(system: Path, mount: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_mount_id", lambda _: mount)
    assert machine.describe_filesystem(Path("/some"), system) == expected


def test_a_folder_that_is_not_made_yet_is_on_the_mount_of_its_parent(tmp_path: Path) -> None:
    assert machine.find_mount_id(tmp_path / "a" / "b") == machine.find_mount_id(tmp_path)
    assert machine.find_mount_id(Path("/proc")) != machine.find_mount_id(Path("/sys"))


def test_this_machine() -> None:
    assert machine.describe_filesystem(Path(f"/proc/{os.getpid()}")) == "proc"
