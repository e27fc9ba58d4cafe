"""Jobs of act as processes: what they print, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.e2e import checkout


def start_act(workflow: str, folder: Path, env: dict[str, str], *options: str) -> subprocess.Popen[str]:
    """Start a workflow of a checkout under act, as the leader of a session of its own."""
    return subprocess.Popen(
        [checkout.program("act"), "workflow_dispatch", "--workflows", workflow, *checkout.ACT_HERE, *options],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def follow(job: subprocess.Popen[str], moment: str) -> str:
    """The log up to a line that tells of a moment."""
    assert job.stdout is not None
    log = ""
    while line := job.stdout.readline():
        log += line
        if moment in line and "RUN " not in line:
            return log
    raise AssertionError(f"{moment!r} never came:\n{log}")


def kill_with_descendants(pid: int) -> None:
    """End a process and all that it has started: act gives each step a process group of its own."""
    doomed = [pid]
    for parent in doomed:
        os.kill(parent, signal.SIGSTOP)
        doomed += list_children(parent)
    for one in doomed:
        os.kill(one, signal.SIGKILL)


def list_children(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(stat.parent.name)


def finish(job: subprocess.Popen[str]) -> str:
    return job.communicate(timeout=240)[0]
