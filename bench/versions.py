"""`python -m bench.versions`: the tests that depend on versions, with each Kubernetes and each Python.

Each Kubernetes has a devcluster of its own, which runs the tests of API calls, transports, rights, builders and
clean-up (`make test-kubernetes-MINOR`). Each Python has an environment of its own with the locked dependencies, in
which the unit tests run; a last one has the oldest allowed dependencies (`make test-oldest`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import machine
from bench.ground import PROJECT
from devcluster import programs

RESULTS = Path(__file__).parent / "results"
OLDEST = "oldest dependencies"
_LOCK = "dev/requirements-dev.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRun:
    """The tests that ran with one ``version`` of a ``part``. ``seconds`` are those of the whole command."""

    part: str
    version: str
    tests: int
    failed: int
    skipped: int
    seconds: float


def read_report(report: Path) -> tuple[int, int, int]:
    """Return how many tests ran, failed and were skipped, from a JUnit report of pytest. Raises ValueError."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    if not suites:
        raise ValueError(f"{report} has no suite of tests")

    def add(*names: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites for name in names)

    return add("tests"), add("failures", "errors"), add("skipped")


def run_command(part: str, version: str, command: Sequence[str], env: Mapping[str, str]) -> VersionRun:
    """Run the command of a version, in which pytest writes a report. Raises CalledProcessError if there is none."""
    with tempfile.TemporaryDirectory(prefix="versions-") as name:
        report = Path(name) / "report.xml"
        began = time.monotonic()
        given = {**env, "PYTEST_ADDOPTS": f"--junitxml={report}"}
        ended = subprocess.run(command, cwd=PROJECT, env=given, check=False)
        if not report.exists():
            raise subprocess.CalledProcessError(ended.returncode, command)
        tests, failed, skipped = read_report(report)
    seconds = round(time.monotonic() - began, 1)
    print(f"{part} {version}: {tests - failed - skipped} of {tests} passed, {skipped} skipped, in {seconds} s")
    return VersionRun(part=part, version=version, tests=tests, failed=failed, skipped=skipped, seconds=seconds)


def make_environment(python: str, folder: Path) -> Path:
    """Make an environment with the locked dependencies; return its interpreter. Raises CalledProcessError."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = folder / "bin" / "python"
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--requirement", _LOCK], cwd=PROJECT, check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", "."], cwd=PROJECT, check=True)
    return own


def ask_version(python: Path) -> str:
    """Return an interpreter's version such as ``3.12.1``."""
    command = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.check_output(command, text=True).strip()


def main() -> int:
    """Run what was asked for, and write the counts of each run at its end. What the file has of others stays."""
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description=__doc__)
    parser.add_argument("--kubernetes", nargs="*", default=[], choices=programs.KUBERNETES, metavar="MINOR")
    parser.add_argument("--python", nargs="*", default=[], metavar="INTERPRETER", help="such as python3.12")
    parser.add_argument("--oldest", action="store_true", help="unit tests with the oldest allowed dependencies")
    file = RESULTS / f"versions-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    found = []

    def run(part: str, version: str, command: Sequence[str]) -> None:
        found.append(run_command(part, version, command, env))
        write_runs(arguments.json, found[-1:])

    for minor in arguments.kubernetes:
        run("Kubernetes", programs.KUBERNETES[minor], ["make", f"test-kubernetes-{minor}"])
    for python in arguments.python:
        with tempfile.TemporaryDirectory(prefix="versions-") as name:
            own = make_environment(python, Path(name))
            run("Python", ask_version(own), [str(own), "-m", "pytest", "-p", "no:cacheprovider", "tests/unit"])
    if arguments.oldest:
        run("Python", f"{ask_version(Path(sys.executable))}, {OLDEST}", ["make", "test-oldest"])
    return int(any(one.failed or one.tests == one.skipped for one in found))


def write_runs(file: Path, found: Sequence[VersionRun]) -> None:
    """Add runs to a file of results, in place of those with the same versions."""
    earlier: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"runs": []}
    runs = {(run["part"], run["version"]): run for run in earlier["runs"]}
    runs |= {(run.part, run.version): asdict(run) for run in found}
    ordered = [runs[key] for key in sorted(runs)]
    file.write_text(json.dumps({"machine": machine.facts(), "runs": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
