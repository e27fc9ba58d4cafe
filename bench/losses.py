"""`python -m bench.losses`: builds that lose their pods in every way, for real, and go on by themselves.

Each loss of the table is made ``--count`` times. A build has one retry, must end well and must have told what it lost;
its image is read back whole. Beside them are failures that another pod would not fix: those must not be retried. Then
pods of a pool are killed every few seconds under many concurrent builds: none that has a retry left may fail. Results
are written after each build, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import ground, machine
from bench.failures import Failures
from bench.faults import RESULTS, Outcome
from bench.lost_pods import Losses, opened
from bench.storm import STORM, storm
from devcluster import host, layout
from devcluster.relay import relaying_kubeconfig

AT_ONCE = 8
"""Losses of pods that are made at the same time on a machine with two cores: most of their time is waiting."""

Table = Mapping[str, Callable[[str], Outcome]]


@dataclass(slots=True, kw_only=True)
class Record:
    """Outcomes so far in ``file``. Thread-safe."""

    file: Path
    written: dict[str, Any]
    commit: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: Outcome) -> None:
        """Add, print and save an outcome."""
        verdict = "; ".join(outcome.faults) or "right"
        with self.lock:
            self.written["outcomes"].append(asdict(outcome) | {"commit": self.commit})
            self.save()
            print(f"{outcome.case:18} exit {outcome.exit_code:4} {outcome.seconds:6.1f} s  {verdict}", flush=True)

    def save(self) -> None:
        """Write the file."""
        self.written["summary"] = summarize(self.written["outcomes"])
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.written, indent=1) + "\n")


def read_record(file: Path) -> Record:
    """Return the outcomes in a file, none if it does not exist."""
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"outcomes": []}
    return Record(file=file, written=found)


def summarize(outcomes: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each case how often it was made, how often all was right, and the seconds of its builds."""
    cases: dict[str, list[Mapping[str, Any]]] = {}
    for one in outcomes:
        cases.setdefault(one["case"], []).append(one)
    return {
        case: {
            "made": len(found),
            "right": sum(not one["faults"] for one in found),
            "median_seconds": round(statistics.median(one["seconds"] for one in found), 1),
            "most_seconds": max(one["seconds"] for one in found),
        }
        for case, found in sorted(cases.items())
    }


def list_missing(table: Iterable[str], outcomes: Iterable[Mapping[str, Any]], count: int) -> list[str]:
    """Return the cases to make until each has been made ``count`` times, round after round."""
    made = [one["case"] for one in outcomes]
    return [case for number in range(count) for case in table if made.count(case) <= number]


def make(case: str, do: Callable[[str], Outcome], record: Record) -> None:
    """Make a loss; if the bench itself fails, that is the outcome's fault."""
    began = time.monotonic()
    try:
        outcome = do(case)
    except Exception as cause:
        seconds = round(time.monotonic() - began, 1)
        fault = f"the bench failed: {cause!r}"
        outcome = Outcome(name=case, case=case, what="unknown", exit_code=-1, seconds=seconds, faults=[fault])
    record.add(outcome)


def run(losses: Losses, record: Record, *, count: int, at_once: int, only: Sequence[str]) -> None:
    """Make all losses: of pods several at once, and beside them one cluster node after the other; last the cluster's.

    A cluster node that is drained or gone is busy with one loss, and nothing else may happen while the API server is
    away.
    """

    def work(table: Table, width: int) -> None:
        wanted = [case for case in table if not only or case in only]
        missing = list_missing(wanted, record.written["outcomes"], count)
        with ThreadPoolExecutor(width) as threads:
            list(threads.map(lambda case: make(case, table[case], record), missing))

    lanes: list[tuple[Table, int]] = [(losses.table() | Failures(losses=losses).table(), at_once)]
    lanes += [({name: do}, 1) for name, do in losses.table_of_nodes().items()]
    with ThreadPoolExecutor(len(lanes)) as threads:
        list(threads.map(lambda lane: work(*lane), lanes))
    work(losses.table_of_cluster(), 1)


def main() -> int:
    """Make the losses; return 1 for any build that did not go on."""
    made = argparse.ArgumentParser(prog="python -m bench.losses", description=__doc__)
    made.add_argument("--count", type=int, default=10, metavar="N", help="how often each loss is made (default: 10)")
    made.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="losses of pods at the same time")
    made.add_argument("--builds", type=int, default=STORM["builds"], metavar="N", help="builds at once; 0: none")
    made.add_argument("--pause", type=float, default=STORM["pause"], metavar="S", help="seconds between killed pods")
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="losses to make")
    made.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    file = RESULTS / f"losses-{time.strftime('%Y-%m-%d')}.json"
    made.add_argument("--json", type=Path, default=file, metavar="FILE", help="results, read to go on with")
    arguments = made.parse_args()
    host.become_root()
    record = read_record(arguments.json)
    with (
        ground.prepared(layout.cluster(arguments.cluster)) as prepared,
        relaying_kubeconfig(Path(prepared.env["KUBECONFIG"]), prepared.folder) as relay,
    ):
        record.commit = machine.commit()
        record.written |= {"machine": machine.facts(), "commit": record.commit}
        with opened(prepared, relay) as losses:
            run(losses, record, count=arguments.count, at_once=arguments.at_once, only=arguments.only)
            if arguments.builds and "storm" not in record.written:
                record.written["storm"] = asdict(
                    storm(losses, **{**STORM, "builds": arguments.builds, "pause": arguments.pause})
                )
                record.save()
    bad = [one for one in record.written["outcomes"] if one["faults"]]
    total = len(record.written["outcomes"])
    print(f"{total - len(bad)} of {total} builds ended as they should; {record.written.get('storm')}")
    return int(bool(bad or record.written.get("storm", {}).get("faults")))


if __name__ == "__main__":
    sys.exit(main())
