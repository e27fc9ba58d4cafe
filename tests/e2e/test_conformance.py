"""A drawn tenth of docker buildx's own tests; `python -m bench.conformance` runs all of them (make soak)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.conformance import sides
from bench.newest import find_newest
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from tests.e2e.product import COMMAND

BUILDING, RUNNING = 1200, 280
"""Seconds: docker buildx's tests are built once, which takes minutes; after that this test takes less than one."""
SEED = os.environ.get("CONFORMANCE_SEED", "1130")


@pytest.mark.timeout(BUILDING + RUNNING)
def test_a_tenth_of_the_tests_ends_as_in_the_committed_run(kube: KubeClient, tmp_path: Path) -> None:
    """The control's outcomes are those of the committed run: its builders boot longer than all these tests take."""
    program = tmp_path / "kube-builder"
    program.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    options = {
        "--name": layout.default_name(),
        "--seed": SEED,
        "--judged": find_newest("conformance"),
        "--folder": tmp_path / "suite",
        "--program": program,
    }
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "bench.conformance", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILDING + RUNNING, check=False)
    finally:
        kube.delete(f"/api/v1/namespaces/{sides.NAMESPACE}")
    assert done.returncode == 0, f"seed {SEED}: {done.stdout}{done.stderr}"
    assert re.search(r"^all +(\d+) of \d+", done.stdout, re.MULTILINE), done.stdout
