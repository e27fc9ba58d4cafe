"""One run of one command: wall time and peak memory as the operating system accounts them."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run. ``seconds`` is wall time, ``peak`` the resident set in MB (1e6 bytes) of the process itself."""

    seconds: float
    peak: float
    output: str


class CommandFailed(Exception):
    """A command of the bench exited with an error: the figures would mean nothing."""


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 600) -> Run:
    """Run a command to its end. Raises CommandFailed with its output if it fails or outlasts ``timeout`` seconds."""
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        usage, status = _wait(process, deadline=start + timeout)
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status != 0:
        raise CommandFailed(f"{' '.join(argv)} exited with {status}:\n{text[-4000:]}")
    return Run(seconds=seconds, peak=usage.ru_maxrss * 1024 / 1e6, output=text)


def _wait(process: subprocess.Popen[bytes], *, deadline: float) -> tuple[os.struct_rusage, int]:
    """Reap the process; wait4 alone tells its own peak memory. ``resource`` knows only the maximum of all children."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, process.returncode
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs of one contestant in one scenario; ``values`` in seconds or MB."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def minimum(self) -> float:
        """The least disturbed run."""
        return min(self.values)


def paired_ratio(ours: Series, theirs: Series) -> float:
    """Median of theirs/ours over pairs that ran one after the other: above 1 we are faster (or smaller)."""
    return statistics.median(b / a for a, b in zip(ours.values, theirs.values, strict=True))
