"""`python -m bench`: runs the benchmarks, prints a table, writes JSON. The devcluster must be up."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import ground, machine, report
from bench.arena import Arena
from bench.lines import LINES
from bench.series import Comparison
from devcluster import host, layout
from devcluster.errors import DevclusterError

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Results:
    """Results so far; a failing line affects no other."""

    facts: dict[str, Any]
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, line: str, comparison: Comparison) -> None:
        """Store a comparison and print its table."""
        self.lines.setdefault(line, []).append(report.document(comparison))
        print("\n".join(report.table(comparison)), end="\n\n", flush=True)

    def write(self, file: Path) -> None:
        """Write all results as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": self.facts, "lines": self.lines, "failures": self.failures}
        file.write_text(json.dumps(found, indent=1) + "\n")


def main() -> int:
    """Run the benchmarks; return 1 if a line could not be measured. No figure causes a failure."""
    arguments = parser().parse_args()
    unknown = set(arguments.only) - set(LINES)
    if unknown:
        print(f"bench: no line {', '.join(sorted(unknown))}; there are {', '.join(LINES)}", file=sys.stderr)
        return 2
    host.become_root()
    results = Results(facts=machine.facts())
    try:
        with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
            arena = Arena(ground=prepared, rounds=arguments.rounds, quick=arguments.quick)
            for name in arguments.only or LINES:
                measure_line(name, arena, results)
    except DevclusterError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    results.write(arguments.json)
    print(f"written to {arguments.json}", file=sys.stderr)
    return int(bool(results.failures))


def measure_line(name: str, arena: Arena, results: Results) -> None:
    """Measure one line; record a failure instead of raising it."""
    try:
        for comparison in LINES[name](arena):
            results.add(name, comparison)
    except Exception as failure:
        traceback.print_exc()
        results.failures[name] = f"{type(failure).__name__}: {failure}"


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument("--only", type=words, default=[], metavar="LINES", help=f"of {','.join(LINES)}")
    made.add_argument("--rounds", type=int, metavar="N", help="instead of each line's own number")
    made.add_argument("--quick", action="store_true", help="one round each, without what takes minutes")
    made.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster to use (default: dev)")
    made.add_argument("--json", type=Path, default=RESULTS / f"{time.strftime('%Y-%m-%d')}.json", metavar="FILE")
    return made


def words(text: str) -> list[str]:
    """Split names at commas."""
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
