"""`python -m bench.balance`: how evenly repositories are spread over a builder's pods, ours beside buildx's ring.

The same random pod sets and repositories for both. buildx's ring is the one that it links (serialx/hashring), asked
by a small program of the devcluster's. With `--commits` also for real: successive commits of one repository.
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
from ci_buildx.builder import balance
from devcluster import host, layout, programs

RESULTS = Path(__file__).parent / "results"
COUNTS = (2, 5, 10, 32)
SETS = 200
REPOSITORIES = 2000
MOST = {2: 1.06, 5: 1.10, 10: 1.15, 32: 1.30}
"""The busiest pod may have that many times its fair share, in the median."""
MOST_MOVED = 1.05
"""And one more pod may move that many times the keys which it must."""

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
    """The pod of each key, for each set."""
    return [[balance.choose(key, pods) for key in keys] for pods in pod_sets]


def theirs(pod_sets: Sequence[PodSet], keys: Sequence[str]) -> list[list[str]]:
    """The same by buildx's ring."""
    programs.build(["ring"])
    question = json.dumps({"pods": [list(pods) for pods in pod_sets], "keys": list(keys)})
    answer = subprocess.run([programs.path("hashring")], input=question, capture_output=True, text=True, check=True)
    places = json.loads(answer.stdout)
    return [[sorted(pods)[place] for place in chosen] for pods, chosen in zip(pod_sets, places, strict=True)]


def measure(who: str, choose: Chooser, count: int, *, sets: int, repositories: int) -> Figures:
    """Everything about one contestant with ``count`` pods; the same pods and keys for whoever is asked."""
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
    """The 95th."""
    return statistics.quantiles(values, n=20)[-1]


def name(random: Random) -> str:
    """A part of a repository's path."""
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz-", k=random.randint(3, 16)))


def pod(random: Random) -> str:
    """A pod's name as a Deployment gives it."""
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return f"kube0-{''.join(random.choices(letters, k=10))}-{''.join(random.choices(letters, k=5))}"


def failures(found: Sequence[Figures]) -> list[str]:
    """What of ours is worse than it may be."""
    mine = [figures for figures in found if figures.who == "kube-builder"]
    worse = [f"{one.count} pods: busiest {one.busiest}" for one in mine if one.busiest > MOST[one.count]]
    return worse + [f"{one.count} pods: moved {one.moved}" for one in mine if one.moved > MOST_MOVED]


def table(found: Sequence[Figures]) -> list[str]:
    """The figures for people."""
    lines = [f"{'pods':>4}  {'who':<12}  busiest / fair share (95 %)  moved by one more / ideal (95 %)"]
    for one in found:
        busiest, moved = f"{one.busiest:.2f} ({one.busiest_95:.2f})", f"{one.moved:.2f} ({one.moved_95:.2f})"
        lines.append(f"{one.count:>4}  {one.who:<12}  {busiest:<27}  {moved}")
    return lines


def main() -> int:
    """Run it; 1 if ours is less even than promised."""
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
