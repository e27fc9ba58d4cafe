"""The devcluster, for every test that needs a real one: started when it isn't up, never skipped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

# Machines that test are shared: what is slow there says nothing. In CI every run tries the same examples.
settings.register_profile(
    "shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("shared")

# A shell starts its background jobs with SIGINT ignored, and programs inherit that: what the tests start must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_COLD_START = 1800
"""Seconds for `up` when all programs must be built first."""


@pytest.fixture(scope="session")
def cluster_env() -> dict[str, str]:
    """This process's environment with the devcluster's KUBECONFIG, REGISTRY and so on."""
    if _devcluster("status", timeout=60).returncode:
        started = _devcluster("up", timeout=_COLD_START)
        assert started.returncode == 0, started.stdout + started.stderr
    shown = _devcluster("env", timeout=60)
    assert shown.returncode == 0, shown.stderr
    words = shlex.split(shown.stdout)
    return {**os.environ, **dict(word.split("=", 1) for word in words if "=" in word)}


def _devcluster(verb: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devcluster", verb]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
