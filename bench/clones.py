"""`python -m bench.clones`: bytes that a fresh clone sends to a builder that has built the previous commit.

A CI job's clone gives every file a new time. The same two commits of a repository are built with each
``--context-mtime``. The time that git needs to list the times of many files is measured separately.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import ground, machine, ours
from bench.ground import PLATFORM, Ground
from bench.measure import CommandFailed
from ci_buildx.fsutil import commit_times
from ci_buildx.settings.values import ContextMtime
from devcluster import host, layout

RESULTS = Path(__file__).parent / "results"
FILES = 20_000
MANY = 100_000
CHANGED = 20
LEAST = 5.0
"""Minimum factor by which ``git`` must send less than ``keep``."""
SIZE = 2_000

_SENT = re.compile(r"transferring context: ([0-9.]+)([kMG]?)B")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_FOLDERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Bytes sent for the first and for the second clone, and seconds of the second build."""

    mode: str
    first: int
    second: int
    seconds: float


class Repository:
    """Two commits of ``count`` files; the second one, ``new``, changes a few of them."""

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "-q", "-b", "main")
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        (folder / ".dockerignore").write_text(".git\n")
        for number in range(_FOLDERS):
            (folder / f"d{number}").mkdir()
        for number in range(count):
            (folder / f"d{number % _FOLDERS}" / f"f{number}").write_bytes(os.urandom(size // 2).hex().encode())
        self._commit("old")
        for number in range(CHANGED):
            (folder / f"d{number}" / f"f{number}").write_bytes(os.urandom(size // 2).hex().encode())
        self._commit("new")

    def clone(self, target: Path, tag: str) -> Path:
        """Make a fresh clone at a tag, with full history, replacing ``target``."""
        shutil.rmtree(target, ignore_errors=True)
        self._git(
            "clone", "-q", "--branch", tag, "-c", "advice.detachedHead=false", f"file://{self.folder}", str(target)
        )
        return target

    def _commit(self, tag: str) -> None:
        self._git("add", "-A")
        self._git("commit", "-q", "-m", tag)
        self._git("tag", tag)

    def _git(self, *arguments: str) -> None:
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0"]
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)


def compare(prepared: Ground, count: int) -> list[Sent]:
    """Measure each mode on a running builder whose first build was another clone of the previous commit."""
    repository = Repository(prepared.folder / "repository", count, SIZE)
    prepared = replace(prepared, env={**prepared.env, "SOURCE_DATE_EPOCH": "1700000000"})
    with ours.kept_builder(prepared, [PLATFORM]) as builder:
        return [_of_mode(prepared, repository, builder, mode) for mode in ContextMtime]


def _of_mode(prepared: Ground, repository: Repository, builder: str, mode: ContextMtime) -> Sent:
    checkout = prepared.folder / f"checkout-{mode}"
    options = ["--builder", builder, "--platform", PLATFORM, "--context-mtime", mode]
    runs = [ours.build(prepared, repository.clone(checkout, tag), *options) for tag in ("old", "new")]
    first, second = (_sent(run.output) for run in runs)
    return Sent(mode=mode, first=first, second=second, seconds=round(runs[1].seconds, 3))


def _sent(output: str) -> int:
    found = [round(float(amount) * _UNITS[unit]) for amount, unit in _SENT.findall(output)]
    if not found:
        raise CommandFailed(f"no transfer in the output:\n{output[-2000:]}")
    return max(found)


def measure_git(count: int) -> list[float]:
    """Return the seconds of three readings of a fresh clone with ``count`` files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        clone = Repository(folder / "repository", count, 40).clone(folder / "clone", "new")
        return [_reading(clone, count) for _ in range(3)]


def _reading(clone: Path, count: int) -> float:
    began = time.monotonic()
    times = commit_times.read_commit_times(clone, source="--context-mtime").times
    assert len(times) > count
    return round(time.monotonic() - began, 3)


def table(found: Sequence[Sent]) -> list[str]:
    """Format the figures as a table."""
    kept = next(one.second for one in found if one.mode == ContextMtime.KEEP)
    return [
        f"{one.mode}: first clone {one.first / 1e6:.2f} MB, second {one.second / 1e6:.2f} MB "
        f"({kept / one.second:.1f} times less than keep), {one.seconds:.2f} s"
        for one in found
    ]


def main() -> int:
    """Run the comparison; return 1 if ``git`` saves less than promised."""
    parser = argparse.ArgumentParser(prog="python -m bench.clones", description=__doc__)
    parser.add_argument("--files", type=int, default=FILES, metavar="N")
    parser.add_argument("--many", type=int, default=MANY, metavar="N", help="files whose times git is asked for")
    parser.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster to use (default: dev)")
    file = RESULTS / f"clones-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    host.become_root()
    with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
        found = compare(prepared, arguments.files)
    print("\n".join(table(found)))
    seconds = measure_git(arguments.many)
    print(f"git told the times of {arguments.many} files in {min(seconds):.2f} s")
    document: dict[str, Any] = {"machine": machine.facts(), "files": arguments.files, "changed": CHANGED}
    document |= {"sent": [asdict(one) for one in found], "many": arguments.many, "seconds": seconds}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    sent = {one.mode: one.second for one in found}
    return int(sent[ContextMtime.KEEP] < LEAST * sent[ContextMtime.GIT])


if __name__ == "__main__":
    sys.exit(main())
