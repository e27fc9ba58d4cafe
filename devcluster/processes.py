"""Processes that outlive the command that starts them, found again by a record on disk."""

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments; `env` is added to a small environment of our own."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A process as it was started. Its start time tells it from a later one that got the same number."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """Ticks between the host's boot and the process's start (proc(5), field 22); None for a dead one or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def record(cluster: Cluster, name: str) -> Record | None:
    """The record of that name; None where nothing whole is recorded."""
    try:
        return Record(**json.loads((cluster.run / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def records(cluster: Cluster) -> list[Record]:
    """All recorded processes, dead ones included."""
    found = (record(cluster, path.stem) for path in sorted(cluster.run.glob("*.json")))
    return [process for process in found if process]


def running(cluster: Cluster, name: str) -> bool:
    """Whether the process recorded under that name is alive."""
    process = record(cluster, name)
    return process is not None and process.alive


def start(cluster: Cluster, name: str, command: Command, enter: list[str]) -> None:
    """Start a process in a session of its own, detached, its output appended to `run/NAME.log`.

    `enter` is the prefix that puts it into the cluster's namespaces. It replaces itself by the program, so that
    the process number is the program's own.
    """
    cluster.run.mkdir(parents=True, exist_ok=True)
    argv = [*enter, f"--wd={command.cwd or '/'}", "--", *command.argv]
    log = str(cluster.run / f"{name}.log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(argv[0], argv, base_environment() | command.env, file_actions=actions, setsid=True)
    started = start_time(pid)
    fresh = cluster.run / f".{name}.new"
    fresh.write_text(json.dumps({"name": name, "pid": pid, "started": started or 0}))
    fresh.rename(cluster.run / f"{name}.json")


def base_environment() -> dict[str, str]:
    """What every process gets: nothing of the caller's, whose proxies and tokens are none of the cluster's business."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def stop(process: Record, *, grace: float) -> None:
    """End one recorded process: ask, wait, kill. Raises DevclusterError when it survives even that."""
    for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + wait
        while process.alive:
            send(process.pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            reap([process.pid])
            return
    raise DevclusterError(f"{process.name} (process {process.pid}) survives SIGKILL: the kernel holds it")


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def reap(pids: Iterable[int]) -> None:
    """Collect the exit codes of those that are this process's own children."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
