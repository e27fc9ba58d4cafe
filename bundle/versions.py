"""The versions that the tests ran with, from the newest committed run."""

from __future__ import annotations

import json

from bench.newest import find_newest

_TESTS = {"Kubernetes": "API calls, transports, rights, builders, clean-up", "Python": "unit tests"}


def table() -> str:
    """Return one row for each version, with the counts of its tests."""
    runs = json.loads(find_newest("versions").read_text())["runs"]
    rows = [
        f"| {run['part']} {run['version']} | {_TESTS[run['part']]} | "
        f"{run['tests'] - run['failed'] - run['skipped']:,} of {run['tests']:,} |"
        for run in runs
    ]
    return "\n".join(["| version | tests | passed |", "|---|---|---|", *rows, ""])
