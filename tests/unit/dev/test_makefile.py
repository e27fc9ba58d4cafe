"""The Makefile names what exists, and lists it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_each_phony_target_has_a_rule() -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    rules = set(re.findall(r"^([\w-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert set(line.split()) - rules == set()


def test_help_lists_each_described_target() -> None:
    described = [line.partition(":")[0] for line in MAKEFILE.splitlines() if re.match(r"[^\s#:=]+:.* ## ", line)]
    assert "test-e2e" in described
    # Also where these tests were started by make.
    command = ["make", "--no-print-directory", "help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in printed.splitlines()] == described
