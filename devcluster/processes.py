"""Processes that outlive the command that starts them, identified by a record on disk."""

import hashlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

# The process records itself before it executes the program: no program runs unrecorded, even if the starter is killed.
RECORD_AND_BECOME = 'cat "/proc/$$/stat" > "$0" && exec "$@"'
PATIENCE = 10.0
# Digest of the files that a process read at its start; it is in the environment, where it can be read later.
READINGS = "DEVCLUSTER_READINGS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments; `env` is added to a minimal environment.

    `reads` are files that it reads only at its start.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    reads: tuple[Path, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the process's environment, without the caller's: proxies and tokens must not reach the cluster."""
        basis = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        content = hashlib.sha256(b"\0".join(path.read_bytes() for path in self.reads)).hexdigest()
        return basis | self.env | ({READINGS: content} if self.reads else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A process as it was started. Its start time distinguishes it from a later process with the same number."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """Return the ticks between the host's boot and the process's start; None for a dead process or a zombie."""
    try:
        state, started = parse(Path(f"/proc/{pid}/stat").read_text())[1:]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else started


def parse(stat: str) -> tuple[int, str, int]:
    """Return number, state and start time from a process's `stat` line (proc(5), fields 1, 3 and 22).

    Raises ValueError if the line is incomplete. The name in field 2 may hold blanks and parentheses.
    """
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if len(fields) < 20:
        raise ValueError(f"not a stat line: {stat!r}")
    return int(head.partition(" ")[0]), fields[0], int(fields[19])


def record_file(cluster: Cluster, name: str) -> Path:
    """Return the path of the record of a process."""
    return cluster.run / f"{name}.stat"


def record(cluster: Cluster, name: str) -> Record | None:
    """Return the record of that name; None if it is missing or incomplete."""
    try:
        pid, _, started = parse(record_file(cluster, name).read_text())
    except (OSError, ValueError):
        return None
    return Record(name=name, pid=pid, started=started)


def records(cluster: Cluster) -> list[Record]:
    """Return all recorded processes, including dead ones."""
    found = (record(cluster, path.stem) for path in sorted(cluster.run.glob("*.stat")))
    return [process for process in found if process]


def follows(process: Record, command: Command) -> bool:
    """Return whether a process has the same command line and environment, and so read the same files."""
    try:
        line, environment = (Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return False
    wanted = {f"{name}={value}".encode() for name, value in command.environment().items()}
    same_line = line.split(b"\0")[:-1] == [argument.encode() for argument in command.argv]
    return same_line and wanted <= set(environment.split(b"\0"))


def running(cluster: Cluster, name: str) -> bool:
    """Return whether the process recorded under that name is alive."""
    process = record(cluster, name)
    return process is not None and process.alive


def start(cluster: Cluster, name: str, command: Command, enter: list[str]) -> None:
    """Start a process in its own session, detached, with its output appended to `run/NAME.log`.

    `enter` is the prefix that moves it into the cluster's namespaces. The prefix replaces itself with the program, so
    the process number is the program's own.
    """
    cluster.run.mkdir(parents=True, exist_ok=True)
    file = record_file(cluster, name)
    file.unlink(missing_ok=True)
    argv = [
        "/bin/sh",
        "-c",
        RECORD_AND_BECOME,
        str(file),
        *enter,
        "env",
        f"--chdir={command.cwd or '/'}",
        *command.argv,
    ]
    log = str(cluster.run / f"{name}.log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    os.posix_spawn(argv[0], argv, command.environment(), file_actions=actions, setsid=True)
    deadline = time.monotonic() + PATIENCE
    while record(cluster, name) is None:
        if time.monotonic() > deadline:
            raise DevclusterError(f"{name} does not start: see {log}")
        time.sleep(0.001)


def stop(process: Record) -> None:
    """End a process: SIGTERM, wait, SIGKILL. Raises DevclusterError if it survives."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, PATIENCE)):
        deadline = time.monotonic() + patience
        while process.alive and time.monotonic() < deadline:
            send(process.pid, number)
            time.sleep(0.05)
    if process.alive:
        raise DevclusterError(f"{process.name} (process {process.pid}) survives SIGKILL: the kernel holds it")


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def reap(pids: Iterable[int]) -> None:
    """Collect the exit codes of those processes that are children of this one."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
