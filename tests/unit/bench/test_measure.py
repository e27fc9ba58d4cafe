"""Runs of real processes."""

import os
import sys

import pytest

from bench import measure
from bench.measure import CommandFailed

SLEEP = "import time; time.sleep(0.2)"
BUSY = "import time\nwhile time.process_time() < 0.2: pass"
BIG = "x = b'x' * 80_000_000"


def python(program: str, timeout: float = 60) -> measure.Run:
    return measure.run([sys.executable, "-I", "-S", "-c", program], env=os.environ, timeout=timeout)


def test_wall_time_and_processor_time_are_told_apart() -> None:
    slept, worked = python(SLEEP), python(BUSY)
    assert slept.seconds >= 0.2 > slept.cpu
    assert worked.cpu >= 0.2


def test_the_peak_is_that_of_the_process_alone() -> None:
    ballast = bytearray(b"x" * 120_000_000)
    assert 80 < python(BIG).peak < 110
    assert python(SLEEP).peak < 40
    assert ballast


def test_the_output_is_both_streams() -> None:
    run = python("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert run.output.split() == ["out", "err"]


def test_a_failure_shows_the_output() -> None:
    with pytest.raises(CommandFailed, match=r"exited with 3:\nbad luck"):
        python("import sys; print('bad luck'); sys.exit(3)")


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(CommandFailed, match="exited with 127"):
        measure.run(["/no/such/program"], env=os.environ)


def test_what_outlasts_its_time_is_killed() -> None:
    with pytest.raises(CommandFailed, match="outlasted 0 s"):
        python("import time; time.sleep(60)", timeout=0.1)


def test_a_daemon_that_is_left_behind_is_not_waited_for() -> None:
    run = python("import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])")
    assert run.seconds < 5
