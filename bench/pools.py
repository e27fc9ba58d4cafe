"""`python -m bench.pools`: builds that share pods, counted on the devcluster's API server.

A burst of builds on ten pods, a queue at four pods, races for the last slot, and killed builds run with the product's
own functions on pods that run nothing (see `bench.pool`). `--real` also runs 50 whole builds at once on four pods.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bench import balance, ground, machine, pool
from bench.ground import Ground
from bench.pool import Build, Pool, Racer, Run
from ci_buildx.builder.builder import Workload
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import SLOT_SECONDS, TICKET_SECONDS
from ci_buildx.builder.pool.pool import PodPool
from ci_buildx.builder.pool.queue import SlotQueue
from ci_buildx.builder.pool.scaling import ElasticNode
from ci_buildx.settings.builder import LoadBalance, ReplicaRange
from devcluster import host, layout

RESULTS = Path(__file__).parent / "results"
SEEDS = 5
RACES = 1000
RACERS = 4
BURST = {"pods": 10, "builds": 30, "repositories": 40}
QUEUE = {"pods": 4, "most": 4, "builds": 50, "repositories": 20}
MOST_CALLS = 40
"""Limit for the calls of one build in a burst: 4 and two for each lost race."""
_HELD = 12.0
_DOCKERFILE = "FROM busybox\nARG MARK\nRUN echo $MARK > /mark && sleep 2\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Builds at once under one policy: medians over the seeds; ``first`` is the share of first choices."""

    who: str
    busiest: list[int]
    idle: list[int]
    first: float
    calls_mean: float = 0.0
    calls_most: int = 0
    faults: list[str] = field(default_factory=list)


def burst(whole: Pool, policy: LoadBalance, seeds: int) -> Burst:
    """Run the burst with the product's placement."""
    busiest, idle, first, calls, faults = [], [], [], [], []
    count = len(whole.pods)
    limit = 5 * BURST["builds"] // (4 * count) + 1
    for seed in range(seeds):
        keys = pool.make_zipf_keys(BURST["repositories"], BURST["builds"], seed)
        builds = [Build(number=number, key=key, lasts=_HELD) for number, key in enumerate(keys)]
        runs = pool.run_builds(whole, builds, policy=policy, seed=seed)
        loads = Counter(run.pod for run in runs)
        busiest.append(max(loads.values()))
        idle.append(count - len(loads))
        first += [run.rank == 0 for run in runs]
        calls += [sum(run.calls.values()) for run in runs]
        faults += [f"build {run.build.number}: {run.error}" for run in runs if run.error]
        if policy is LoadBalance.STICKY and busiest[-1] > limit:
            faults.append(f"seed {seed}: {busiest[-1]} builds on one pod")
        if max(run.got for run in runs) > min(run.ended for run in runs):
            faults.append(f"seed {seed}: not all builds were at once")
    if max(calls) > MOST_CALLS:
        faults.append(f"{max(calls)} calls of one build")
    return Burst(
        who=f"kube-builder, {policy}",
        busiest=busiest,
        idle=idle,
        first=round(statistics.mean(first), 3),
        calls_mean=round(statistics.mean(calls), 1),
        calls_most=max(calls),
        faults=faults,
    )


def burst_without_load(whole: Pool, who: str, choose: balance.Chooser, seeds: int) -> Burst:
    """Place the same builds by a hash alone."""
    busiest, idle = [], []
    names = sorted(pod.name for pod in whole.pods)
    for seed in range(seeds):
        keys = pool.make_zipf_keys(BURST["repositories"], BURST["builds"], seed)
        loads = Counter(choose([names], keys)[0])
        busiest.append(max(loads.values()))
        idle.append(len(names) - len(loads))
    return Burst(who=who, busiest=busiest, idle=idle, first=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Builds that wait for slots: their waits in seconds, and the largest number in one pod."""

    seed: int
    builds: int
    peak: int
    queued: int
    wait_p50: float
    wait_p95: float
    wait_longest: float
    ideal_longest: float
    overtaken: int
    calls_mean: float
    calls_most: int
    left: int
    faults: list[str]


def queue(whole: Pool, seed: int) -> Queue:
    """Let many builds queue for few slots."""
    random = Random(seed)
    keys = pool.make_zipf_keys(QUEUE["repositories"], QUEUE["builds"], seed)
    builds = [
        Build(number=number, key=key, begins=random.uniform(0, 3), lasts=random.uniform(2, 8))
        for number, key in enumerate(keys)
    ]
    runs = pool.run_builds(whole, builds, most=QUEUE["most"], seed=seed)
    peak = max(pool.count_peaks(runs).values())
    waits = sorted(run.waited for run in runs)
    ideal = pool.compute_ideal_wait(runs, QUEUE["pods"] * QUEUE["most"])
    faults = [f"build {run.build.number}: {run.error}" for run in runs if run.error]
    if peak > QUEUE["most"]:
        faults.append(f"{peak} builds in one pod")
    left = len(whole.leases())
    if left:
        faults.append(f"{left} Leases are left")
    calls = [sum(run.calls.values()) for run in runs]
    return Queue(
        seed=seed,
        builds=len(runs),
        peak=peak,
        queued=sum(run.queued for run in runs),
        wait_p50=round(statistics.median(waits), 2),
        wait_p95=round(balance.percentile(waits), 2),
        wait_longest=round(waits[-1], 2),
        ideal_longest=round(ideal, 2),
        overtaken=count_overtaken(runs),
        calls_mean=round(statistics.mean(calls), 1),
        calls_most=max(calls),
        left=left,
        faults=faults,
    )


def count_overtaken(runs: Sequence[Run], *, slack: float = 0.5) -> int:
    """Return how many builds that asked more than ``slack`` seconds earlier than another began after it."""
    queued = [run for run in runs if run.queued]
    return sum(
        any(other.asked > run.asked + slack and other.got < run.got - slack for other in queued) for run in queued
    )


def race(whole: Pool, races: int) -> dict[str, int]:
    """Run the seeded races for the last of four slots; return how often how many builds have won."""
    clients = [whole.connect() for _ in range(RACERS)]
    racers = [Racer(pool=whole, kube=client) for client in clients]
    keeper = LeaseKeeper(clients[0], "before")
    for _ in range(3):
        request = whole.request("team/app", policy=LoadBalance.STICKY, most=4)
        assert PodPool(clients[0], keeper, request).try_at_once()
    found = Counter(pool.race_for_last_slot(racers, seed, most=4) for seed in range(races))
    keeper.close()
    for client in clients:
        client.close()
    return {str(winners): count for winners, count in sorted(found.items())}


def race_for_pods(whole: Pool, races: int) -> dict[str, int]:
    """Run the seeded races for the last scale-up of a Deployment whose pods are never scheduled."""
    path = f"/apis/apps/v1/namespaces/{whole.node.location.namespace}/deployments"
    marks = {"bench": "elastic"}
    template = {
        "metadata": {"labels": marks},
        "spec": {"schedulingGates": [{"name": pool.GATE}], "containers": [{"name": "buildkitd", "image": "none"}]},
    }
    spec = {"replicas": 1, "paused": True, "selector": {"matchLabels": marks}, "template": template}
    whole.kube.create(path, {"metadata": {"name": "elastic"}, "spec": spec})
    elastic = ElasticNode(
        node=whole.node,
        kind=Workload.DEPLOYMENT,
        path=f"{path}/elastic",
        scaling=ReplicaRange(least=1, most=2),
        most=4,
    )
    clients = [whole.connect() for _ in range(RACERS)]
    racers = [Racer(pool=whole, kube=client) for client in clients]
    found = Counter(pool.race_for_last_pod(whole.kube, racers, elastic, seed) for seed in range(races))
    for client in clients:
        client.close()
    return {str(winners): count for winners, count in sorted(found.items())}


def kill(whole: Pool, count: int) -> dict[str, Any]:
    """Let builds vanish without giving their slots and places up; return when these are free again."""
    kube = whole.connect()
    dead = LeaseKeeper(kube, "dead")
    most = count // len(whole.pods)
    for _ in range(count):
        mine = PodPool(
            kube, LeaseKeeper(kube, f"dead-{_}"), whole.request("team/app", policy=LoadBalance.STICKY, most=most)
        )
        assert mine.try_at_once()
        mine.keeper._closed = True  # as if its process had been killed: nothing is renewed or given up
    SlotQueue(kube, PodPool(kube, dead, whole.request("team/app", policy=LoadBalance.STICKY, most=most)))._take_ticket()
    dead._closed = True
    started = time.monotonic()
    runs = pool.run_builds(whole, [Build(number=number, key=f"team/app{number}") for number in range(count)], most=most)
    free = max(run.got for run in runs)
    time.sleep(max(0.0, 2 * SLOT_SECONDS + 2 - (time.monotonic() - started)))
    pool.run_builds(whole, [Build(number=number, key="team/app") for number in range(4)], most=most)
    deadline = time.monotonic() + 30
    while (left := len(whole.leases())) and time.monotonic() < deadline:
        time.sleep(0.5)
    return {
        "killed": count,
        "slot_seconds": SLOT_SECONDS,
        "ticket_seconds": TICKET_SECONDS,
        "all_free_after": round(free, 1),
        "left": left,
        "faults": [f"{left} Leases are left"] * bool(left) + [run.error for run in runs if run.error],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Whole builds at once on a real builder; ``peaks`` are the largest numbers of slots that each pod had."""

    builds: int
    failed: int
    wrong: int
    peaks: dict[str, int]
    seconds: float
    longest: float
    left: int
    faults: list[str]


def crowd(prepared: Ground, builds: int, repositories: int) -> Crowd:
    """Build with the product's processes on a builder of four pods with four builds each."""
    namespace = f"pools-{int(time.time())}"
    prepared.kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    prepared.account.let_into(namespace)
    shape = f"namespace={namespace},replicas={QUEUE['pods']},max-builds={QUEUE['most']},loadbalance=sticky"
    made = ["create", "--name", "kube", "--bootstrap", "--driver-opt", shape]
    _call(prepared, *made, "--buildkitd-config", str(prepared.buildkitd_config))
    peaks, over = Counter[str](), threading.Event()
    watcher = threading.Thread(target=lambda: _watch_slots(prepared, namespace, peaks, over))
    watcher.start()
    started = time.monotonic()
    try:
        with ThreadPoolExecutor(builds) as threads:
            ends = list(threads.map(lambda number: _build(prepared, namespace, number, repositories), range(builds)))
    finally:
        over.set()
        watcher.join()
    seconds = time.monotonic() - started
    left = prepared.kube.list(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")["items"]
    _call(prepared, "rm", "--namespace", namespace, "kube")
    prepared.kube.delete(f"/api/v1/namespaces/{namespace}")
    faults = [text for _, text, _ in ends if text]
    faults += [f"{peak} slots of {pod}" for pod, peak in peaks.items() if peak > QUEUE["most"]]
    return Crowd(
        builds=builds,
        failed=sum(code != 0 for code, _, _ in ends),
        wrong=sum(bool(text) for _, text, _ in ends),
        peaks=dict(peaks),
        seconds=round(seconds, 1),
        longest=round(max(took for _, _, took in ends), 1),
        left=len(left),
        faults=faults,
    )


def _build(prepared: Ground, namespace: str, number: int, repositories: int) -> tuple[int, str, float]:
    """Run one build; return its exit code, what is wrong with it, and its seconds."""
    context, target = prepared.folder / f"crowd-{number}", prepared.folder / f"crowd-{number}-out"
    context.mkdir()
    (context / "Dockerfile").write_text(_DOCKERFILE)
    mark = f"mark-{number}"
    options = ["--builder", "kube", "--namespace", namespace, "--sticky-key", f"{{target}}app{number % repositories}"]
    options += ["--build-arg", f"MARK={mark}", "-o", f"type=local,dest={target}", "--progress", "plain"]
    started = time.monotonic()
    done = subprocess.run(
        [str(prepared.product), "build", *options, str(context)],
        env=prepared.env,
        capture_output=True,
        text=True,
        check=False,
    )
    found = (target / "mark").read_text().strip() if (target / "mark").exists() else ""
    wrong = "" if (done.returncode, found) == (0, mark) else f"build {number}: {done.returncode} {done.stderr[-300:]}"
    return done.returncode, wrong, time.monotonic() - started


def _watch_slots(prepared: Ground, namespace: str, peaks: Counter[str], over: threading.Event) -> None:
    """Count the slots of each pod a few times a second, as an administrator sees them."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    while not over.wait(0.2):
        slots = prepared.kube.list(path, labelSelector="kube-builder.dev/pool=slot")["items"]
        now = Counter(one["metadata"]["ownerReferences"][0]["name"] for one in slots)
        for name, count in now.items():
            peaks[name] = max(peaks[name], count)


def _call(prepared: Ground, *arguments: str) -> None:
    subprocess.run([str(prepared.product), *arguments], env=prepared.env, check=True, capture_output=True)


def tell(document: dict[str, Any]) -> list[str]:
    """Format the results."""
    lines = [f"{'burst of 30 on 10 pods':<24} busiest   idle      first choice  calls (most)"]
    for one in document["burst"]:
        calls = f"{one['calls_mean']} ({one['calls_most']})" if one["calls_most"] else "-"
        worst, idle = (f"{statistics.mean(one[name]):.1f} ({max(one[name])})" for name in ("busiest", "idle"))
        lines.append(f"{one['who']:<24} {worst:<9} {idle:<9} {one['first']:<13} {calls}")
    lines += [
        f"50 builds on 4 pods with 4 slots, seed {one['seed']}: peak {one['peak']}, {one['queued']} waited, longest "
        f"{one['wait_longest']} s (ideal {one['ideal_longest']} s), calls {one['calls_mean']} ({one['calls_most']})"
        for one in document["queue"]
    ]
    lines.append(f"races for the last slot by number of winners: {document['races']}")
    lines.append(f"races for the last scale-up by number of winners: {document['scale_up_races']}")
    lines.append(f"killed builds: {document['killed']}")
    if "crowd" in document:
        lines.append(f"whole builds: {document['crowd']}")
    return lines


def list_faults(document: dict[str, Any]) -> list[str]:
    """Return what must not be."""
    found = [fault for part in ("burst", "queue") for one in document[part] for fault in one["faults"]]
    found += document["killed"]["faults"] + document.get("crowd", {}).get("faults", [])
    races = [*document["races"].items(), *document["scale_up_races"].items()]
    return found + [f"{count} races had {winners} winners" for winners, count in races if winners != "1"]


def measure(prepared: Ground, *, seeds: int, races: int, builds: int) -> dict[str, Any]:
    """Run everything and return the results."""
    document: dict[str, Any] = {"machine": machine.facts(), "seeds": seeds}
    with pool.opened(prepared.kube, prepared.account, BURST["pods"]) as ten:
        found = [burst(ten, policy, seeds) for policy in LoadBalance]
        found += [burst_without_load(ten, "hashing alone", balance.ours, seeds)]
        found += [burst_without_load(ten, "buildx's ring", balance.theirs, seeds)]
        document["burst"] = [asdict(one) for one in found]
    with pool.opened(prepared.kube, prepared.account, QUEUE["pods"]) as four:
        document["queue"] = [asdict(queue(four, seed)) for seed in range(seeds)]
        document["killed"] = kill(four, 8)
    with pool.opened(prepared.kube, prepared.account, 1) as single:
        document["races"] = race(single, races)
        document["scale_up_races"] = race_for_pods(single, races)
    if builds:
        document["crowd"] = asdict(crowd(prepared, builds, QUEUE["repositories"]))
    return document


def main() -> int:
    """Run the counts; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.pools", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N")
    parser.add_argument("--races", type=int, default=RACES, metavar="N")
    parser.add_argument(
        "--builds", type=int, default=QUEUE["builds"], metavar="N", help="whole builds at once; 0: none"
    )
    parser.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster to use (default: dev)")
    file = RESULTS / f"pools-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    host.become_root()
    with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
        document = measure(prepared, seeds=arguments.seeds, races=arguments.races, builds=arguments.builds)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(tell(document)))
    faults = list_faults(document)
    for fault in faults:
        print(f"broken: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
