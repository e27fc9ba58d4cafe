"""The figures of `make coverage`."""

from __future__ import annotations

from dev import unit_coverage


def test_a_package_has_its_own_modules_and_a_low_one_is_marked() -> None:
    files = {
        "ci_buildx/build/run.py": (6, [3]),
        "ci_buildx/build/solve.py": (4, []),
        "ci_buildx/build/context/origin.py": (10, [1, 2]),
        "ci_buildx/empty/__init__.py": (0, []),
    }
    report = {
        "files": {
            name: {"summary": {"num_statements": count}, "missing_lines": missing}
            for name, (count, missing) in files.items()
        }
    }
    packages = unit_coverage.sum_packages(unit_coverage.read_report(report))
    lines = [" ".join(line.split()) for line in unit_coverage.format_packages(packages, 85)]
    assert lines == [
        "ci_buildx/build 9 of 10 90.0 %",
        "ci_buildx/build/context 8 of 10 80.0 % below 85 %",
        "ci_buildx/empty 0 of 0 100.0 %",
    ]
