"""Facts about the machine and the versions that were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from bench.ground import PROJECT
from devcluster import layout, programs, versions

DISTRIBUTION = Path("/usr")


def facts() -> dict[str, Any]:
    """Return machine, load, versions and commit."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": os.cpu_count(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": f"{platform.python_version()}, {describe_interpreter()}",
        "kubernetes": programs.KUBERNETES[versions.read(layout.cluster())],
        "buildx": _said([str(programs.path("buildx")), "version"]) if programs.is_built("buildx") else "",
        "state": describe_filesystem(layout.state_root()),
        "commit": _said(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]),
        "load": os.getloadavg()[0],
    }


def describe_interpreter() -> str:
    """Return how Python was built.

    Distributions, `setup-python` and images of Python build it with profiles of use, which take a sixth off a client's
    instructions; pyenv's and Python's own defaults do not.
    """
    if Path(sys.base_prefix) == DISTRIBUTION:
        return "of the distribution"
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "optimized" if optimized else "not optimized"


def describe_filesystem(folder: Path, system: Path = Path("/")) -> str:
    """Return the type of the file system that holds a folder, and for ext4 whether it has a journal.

    Without a journal, ext4 waits one to six minutes before it reuses an inode, and creating a file means a search
    through all inodes that were freed in that time: a context that replaces thousands of files may take several times
    as long. Sources: proc(5), fdinfo and mountinfo; Linux 6.18, ``fs/ext4/ialloc.c`` (``recently_deleted``) and
    ``fs/jbd2/journal.c`` (names in ``/proc/fs/jbd2``). ``system`` is the folder that contains ``proc`` and ``sys``.
    """
    mount = find_mount_id(folder)
    for line in (system / "proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        number, _, device, *_ = before.split()
        if int(number) == mount:
            kind = after.split()[0].decode()
            if kind != "ext4" or _has_journal(device.decode(), system):
                return kind
            return "ext4, no journal found"
    return ""


def find_mount_id(folder: Path) -> int:
    """Return the kernel's number of the mount that holds a folder, or would hold it once it is made."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    descriptor = os.open(nearest, os.O_PATH)
    try:
        return int(_field(Path(f"/proc/self/fdinfo/{descriptor}"), "mnt_id"))
    finally:
        os.close(descriptor)


def _has_journal(device: str, system: Path) -> bool:
    """Return whether the kernel lists a journal on a block device, given as ``major:minor``."""
    name = (system / "sys/dev/block" / device).resolve().name
    return any((system / "proc/fs/jbd2").glob(f"{name}-*"))


def commit() -> str:
    """Return the measured commit and its subject, which survives a rebase."""
    named = _said(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"])
    return f"{named} {_said(['git', '-C', str(PROJECT), 'log', '-1', '--format=%s'])}"


def _field(file: Path, name: str) -> str:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _said(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
