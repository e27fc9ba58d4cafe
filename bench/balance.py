"""`python -m bench.balance`: how evenly repositories are spread over a builder's pods, compared with buildx's ring.

Both get the same random pod sets and repositories. buildx's ring is the library that it links (serialx/hashring),
called through a small program of the devcluster. `--commits` also builds successive commits of one repository.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench import commits, ground, machine
from ci_buildx.builder import pods as builder_pods
from devcluster import host, layout, programs

RESULTS = Path(__file__).parent / "results"
COUNTS = (2, 5, 10, 32)
SETS = 200
REPOSITORIES = 2000
MOST = {2: 1.06, 5: 1.10, 10: 1.15, 32: 1.30}
"""Limit for the load of the busiest pod as a multiple of its fair share, median, by number of pods."""
MOST_MOVED = 1.05
"""Limit for the keys that one more pod moves, as a multiple of the keys that must move."""

PodSet = Sequence[str]
Chooser = Callable[[Sequence[PodSet], Sequence[str]], list[list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One contestant with ``count`` pods: busiest pod by fair share, and keys moved by one more pod by the ideal."""

    who: str
    count: int
    busiest: float
    busiest_95: float
    moved: float
    moved_95: float


def ours(pod_sets: Sequence[PodSet], keys: Sequence[str]) -> list[list[str]]:
    """Return kube-builder's pod for each key, for each set."""
    return [[builder_pods.choose_pod(key, pods) for key in keys] for pods in pod_sets]


def theirs(pod_sets: Sequence[PodSet], keys: Sequence[str]) -> list[list[str]]:
    """Return the pods that buildx's ring chooses."""
    programs.build(["ring"])
    question = json.dumps({"pods": [list(pods) for pods in pod_sets], "keys": list(keys)})
    answer = subprocess.run([programs.path("hashring")], input=question, capture_output=True, text=True, check=True)
    places = json.loads(answer.stdout)
    return [[sorted(pods)[place] for place in chosen] for pods, chosen in zip(pod_sets, places, strict=True)]


def measure(who: str, choose: Chooser, count: int, *, sets: int, repositories: int) -> Figures:
    """Measure one contestant with ``count`` pods; all contestants get the same pods and keys."""
    random = Random(count)
    keys = [f"{name(random)}/{name(random)}" for _ in range(repositories)]
    grown = [[pod(random) for _ in range(count + 1)] for _ in range(sets)]
    before = choose([pods[:-1] for pods in grown], keys)
    after = choose(grown, keys)
    busiest = [max(map(chosen.count, set(chosen))) * count / len(keys) for chosen in before]
    moved = [
        sum(one != other for one, other in zip(*pair, strict=True)) * (count + 1) / len(keys)
        for pair in zip(before, after, strict=True)
    ]
    return Figures(
        who=who,
        count=count,
        busiest=round(statistics.median(busiest), 3),
        busiest_95=round(percentile(busiest), 3),
        moved=round(statistics.mean(moved), 3),
        moved_95=round(percentile(moved), 3),
    )


def percentile(values: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def name(random: Random) -> str:
    """Return a random part of a repository's path."""
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz-", k=random.randint(3, 16)))


def pod(random: Random) -> str:
    """Return a random pod name in the format of a Deployment."""
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return f"kube0-{''.join(random.choices(letters, k=10))}-{''.join(random.choices(letters, k=5))}"


def failures(found: Sequence[Figures]) -> list[str]:
    """Return the limits that kube-builder exceeds."""
    mine = [figures for figures in found if figures.who == "kube-builder"]
    worse = [f"{one.count} pods: busiest {one.busiest}" for one in mine if one.busiest > MOST[one.count]]
    return worse + [f"{one.count} pods: moved {one.moved}" for one in mine if one.moved > MOST_MOVED]


def table(found: Sequence[Figures]) -> list[str]:
    """Format the figures as a table."""
    lines = [f"{'pods':>4}  {'who':<12}  busiest / fair share (95 %)  moved by one more / ideal (95 %)"]
    for one in found:
        busiest, moved = f"{one.busiest:.2f} ({one.busiest_95:.2f})", f"{one.moved:.2f} ({one.moved_95:.2f})"
        lines.append(f"{one.count:>4}  {one.who:<12}  {busiest:<27}  {moved}")
    return lines


def main() -> int:
    """Run the comparison; return 1 if kube-builder spreads less evenly than promised."""
    parser = argparse.ArgumentParser(prog="python -m bench.balance", description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS, metavar="N")
    parser.add_argument("--commits", type=int, default=0, metavar="N", help="build so many commits, on the devcluster")
    parser.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster to use (default: dev)")
    file = RESULTS / f"balance-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    found = [
        measure(who, choose, count, sets=arguments.sets, repositories=REPOSITORIES)
        for count in COUNTS
        for who, choose in (("kube-builder", ours), ("buildx", theirs))
    ]
    print("\n".join(table(found)))
    document: dict[str, Any] = {"sets": arguments.sets, "repositories": REPOSITORIES}
    document["figures"] = [asdict(one) for one in found]
    if arguments.commits:
        host.become_root()
        with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
            series = commits.compare(prepared, arguments.commits)
        print("\n".join(commits.table(series)))
        document |= {"machine": machine.facts(), "commits": [asdict(one) for one in series]}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    for failure in failures(found):
        print(f"more than promised: {failure}")
    return int(bool(failures(found)))


if __name__ == "__main__":
    sys.exit(main())
