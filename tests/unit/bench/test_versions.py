"""Counts of tests with each version: read from pytest's reports, kept by version, printed in docs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench import versions
from bench.versions import VersionRun

REPORT = (
    '<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="20">'
    "</testsuite></testsuites>"
)


def make_run(version: str, tests: int = 10) -> VersionRun:
    return VersionRun(part="Kubernetes", version=version, tests=tests, failed=0, skipped=0, seconds=1.0)


def test_a_report_has_the_counts(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert versions.read_report(report) == (20, 3, 3)


def test_a_report_without_tests_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text("<testsuites/>")
    with pytest.raises(ValueError, match="has no suite"):
        versions.read_report(report)


def test_a_command_is_counted_by_the_report_that_it_writes(tmp_path: Path) -> None:
    write = f"set -eu; file=${{PYTEST_ADDOPTS#--junitxml=}}; printf %s '{REPORT}' > \"$file\"; exit 1"
    run = versions.run_command("Python", "3.99.0", ["sh", "-c", write], {})
    assert (run.tests, run.failed, run.skipped) == (20, 3, 3)


def test_a_version_that_ran_again_replaces_its_earlier_run(tmp_path: Path) -> None:
    file = tmp_path / "versions.json"
    versions.write_runs(file, [make_run("1.37.2"), make_run("1.34.2")])
    versions.write_runs(file, [make_run("1.34.2", tests=12)])
    kept = json.loads(file.read_text())["runs"]
    assert [(run["version"], run["tests"]) for run in kept] == [("1.34.2", 12), ("1.37.2", 10)]


def test_a_run_without_a_report_loses_none_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(part: str, version: str, command: Sequence[str], env: Mapping[str, str]) -> VersionRun:
        if "1.34" in command[-1]:
            raise subprocess.CalledProcessError(2, command)
        return make_run(version)

    monkeypatch.setattr(versions, "run_command", run)
    file = tmp_path / "versions.json"
    monkeypatch.setattr(sys, "argv", ["versions", "--kubernetes", "1.37", "1.34", "--json", str(file)])
    with pytest.raises(subprocess.CalledProcessError):
        versions.main()
    (kept,) = json.loads(file.read_text())["runs"]
    assert kept["version"].startswith("1.37")
