"""`python -m bench.trees`: compares images of kube-builder and buildx for random trees and ignore files.

A number determines each tree, its ignore file and its COPY instructions; `make test` uses the first few of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine
from devcluster import layout, registry
from devcluster.parity import clients, differential

RESULTS = Path(__file__).parent / "results"
COUNT = 300


def run(address: str, first: int, count: int) -> dict[str, Any]:
    """Compare ``count`` trees; return the differences and the amount of compared entries."""
    began = time.monotonic()
    found: list[str] = []
    compared = 0
    with tempfile.TemporaryDirectory() as folder, clients.opened(address, Path(folder)) as arena:
        for seed in range(first, first + count):
            outcome = differential.compare(seed, arena)
            compared += outcome.entries
            found += outcome.differences
            if seed % 20 == 19:
                print(f"{seed + 1 - first} trees, {compared} entries, {len(found)} differences", file=sys.stderr)
    seconds = round(time.monotonic() - began, 1)
    return {"first": first, "trees": count, "entries": compared, "seconds": seconds, "differences": found}


def main() -> int:
    """Run the comparison; return 1 if there are differences."""
    parser = argparse.ArgumentParser(prog="python -m bench.trees", description=__doc__)
    parser.add_argument("--trees", type=int, default=COUNT, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first tree's number (default: 0)")
    parser.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster whose registry is used")
    file = RESULTS / f"trees-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    registries = registry.registries(layout.cluster(arguments.cluster))
    address = next(found.address for found in registries if found.plain_http)
    found = run(address, arguments.first, arguments.trees)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": machine.facts(), **found}, indent=1) + "\n")
    for difference in found["differences"]:
        print(difference)
    print(f"{found['entries']} entries of {found['trees']} trees compared; written to {arguments.json}")
    return int(bool(found["differences"]))


if __name__ == "__main__":
    sys.exit(main())
