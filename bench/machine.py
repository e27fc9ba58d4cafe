"""Facts about the machine and the versions that were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.ground import PROJECT
from devcluster import programs


def facts() -> dict[str, Any]:
    """Return machine, load, versions and commit."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": os.cpu_count(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes": programs.KUBERNETES[programs.DEFAULT],
        "buildx": _said([str(programs.path("buildx")), "version"]) if programs.is_built("buildx") else "",
        "commit": _said(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]),
        "load": os.getloadavg()[0],
    }


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
