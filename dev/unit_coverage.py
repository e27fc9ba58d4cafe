"""Measures which lines of the product the unit tests reach, and fails if a package is below the limit.

    python -m dev.unit_coverage            # run the unit tests and print each package
    python -m dev.unit_coverage --missing  # also print the lines that no test reaches

Lines that only other processes execute are not counted. Data is in ``build/coverage``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "coverage"
LIMIT = 85.0
"""Smallest share of a package's lines, in percent, that unit tests reach."""


class ModuleCoverage(NamedTuple):
    """The statements of one module; ``missing`` are the numbers of lines that no test reaches."""

    path: Path
    statements: int
    missing: tuple[int, ...]


class PackageCoverage(NamedTuple):
    """The statements of one package, without those of the packages inside it."""

    path: Path
    statements: int
    reached: int

    @property
    def percent(self) -> float:
        """The share of statements that tests reach."""
        return 100 * self.reached / self.statements if self.statements else 100.0


def run_tests(folder: Path) -> int:
    """Run the unit tests and write ``coverage.json`` into ``folder``; return pytest's exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    coverage, data = (sys.executable, "-m", "coverage"), f"--data-file={folder / 'data'}"
    tests = ("-m", "pytest", "tests/unit")
    done = subprocess.run([*coverage, "run", data, "--source=ci_buildx", *tests], cwd=ROOT, check=False)
    report = [*coverage, "json", "--quiet", data, "-o", str(folder / "coverage.json")]
    subprocess.run(report, cwd=ROOT, check=True)
    return done.returncode


def read_report(report: Mapping[str, Any]) -> list[ModuleCoverage]:
    """Read the modules from coverage's JSON report (coverage 7, format 3)."""
    return [
        ModuleCoverage(Path(name), found["summary"]["num_statements"], tuple(found["missing_lines"]))
        for name, found in sorted(report["files"].items())
    ]


def sum_packages(modules: Iterable[ModuleCoverage]) -> list[PackageCoverage]:
    """Return the packages by path."""
    groups: dict[Path, list[ModuleCoverage]] = defaultdict(list)
    for module in modules:
        groups[module.path.parent].append(module)
    found = []
    for path, inside in sorted(groups.items()):
        statements = sum(module.statements for module in inside)
        found.append(PackageCoverage(path, statements, statements - sum(len(module.missing) for module in inside)))
    return found


def format_packages(packages: Iterable[PackageCoverage], limit: float) -> Iterator[str]:
    """Yield one line for each package, marked if it is below ``limit`` percent."""
    for package in packages:
        mark = f"  below {limit:g} %" if package.percent < limit else ""
        yield f"{package.path!s:36} {package.reached:5} of {package.statements:5}  {package.percent:5.1f} %{mark}"


def main() -> int:
    """Print the figures; return 1 if a test fails or a package is below the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="print the lines that no test reaches")
    chosen = parser.parse_args()
    failed = run_tests(FOLDER)
    modules = read_report(json.loads((FOLDER / "coverage.json").read_text()))
    packages = sum_packages(modules)
    print(*format_packages(packages, LIMIT), sep="\n")
    if chosen.missing:
        print(*(f"{one.path}: {', '.join(map(str, one.missing))}" for one in modules if one.missing), sep="\n")
    return 1 if failed or any(package.percent < LIMIT for package in packages) else 0


if __name__ == "__main__":
    sys.exit(main())
