"""One run of one command: wall time, processor time and peak memory as accounted by the operating system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run.

    ``seconds`` is wall time; ``cpu`` is processor time in seconds and ``peak`` resident memory in MB (1e6 bytes), both
    of the process itself, without processes in the cluster. ``first`` is the time to its first output in seconds, with
    a precision of 5 ms; 0 if there was none before the end.
    """

    seconds: float
    first: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    output: str = ""


class CommandFailed(Exception):
    """A benchmark's command exited with an error, so its figures are meaningless."""


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 600) -> Run:
    """Run a command to its end. Raises CommandFailed with its output if it fails or exceeds ``timeout`` seconds.

    A launcher of 10 MB starts it: Linux includes the memory before ``exec`` in a process's peak (``exec_mmap`` in
    fs/exec.c), so a direct child would never be smaller than this process.
    """
    receiver, sender = os.pipe()
    with tempfile.TemporaryFile() as output, os.fdopen(receiver, "rb") as accounts:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(sender), str(timeout), *argv]
        process = subprocess.Popen(
            launcher, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[sender]
        )
        os.close(sender)
        account = _read(accounts.read())
        process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if account.get("status") != 0:
        how = f"outlasted {timeout:.0f} s" if account.get("timed_out") else f"exited with {account.get('status')}"
        raise CommandFailed(f"{' '.join(argv)} {how}:\n{text[-4000:]}")
    return Run(
        seconds=account["seconds"], first=account["first"], cpu=account["cpu"], peak=account["peak"], output=text
    )


def _read(account: bytes) -> dict[str, float]:
    """Parse the launcher's report. It is empty if the command could not start; the output then holds the error."""
    return dict(json.loads(account)) if account else {"status": 127}
