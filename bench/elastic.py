"""`python -m bench.elastic`: a pool that grows from 2 to 8 pods under load and shrinks back to 2 while builds go on.

Builds of several repositories have no retries, so a pod that is removed under a build fails it. Each repository has a
step that only its first build in a pod has to run: whether it is cached shows if cached work follows its key. Every
image is read back whole. Once with a Deployment, whose new pods have no cache, once with a StatefulSet with claims.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from bench import balance, ground, machine
from bench.faults import RESULTS, Build
from bench.ground import Ground
from bench.lost_pods import ANSWERED, Losses, opened
from ci_buildx.errors import KubeBuilderError
from devcluster import host, layout

PODS = (2, 8)
MOST = 2
IDLE = 20
"""Seconds without a build after which a pod may be removed."""
REPOSITORIES = 10
LOAD = {"before": 30, "during": 150, "after": 30}
"""Builds of each phase; those of the phase ``down`` go on until the pool is small again."""
FEW, MANY = 3, 24
KINDS = {"Deployment": "", "StatefulSet": ",persistent-volume-claim.requests.storage=1Gi"}
DOCKERFILE = """FROM busybox
RUN echo dependencies of app{repository}; head -c 2000000 /dev/urandom > /dependencies; sleep 4
COPY blob /blob
RUN sleep {seconds}
ARG MARK
ENV MARK=$MARK
"""
_DEPENDENCIES = re.compile(r"^#(\d+) \[2/4\] RUN echo dependencies", re.M)
_CHOICE = re.compile(r"is chosen by the sticky key '[^']*' \((first choice|choice (\d+)),")
_WAITED = re.compile(r"got a slot after (\d+) s in the queue")
_CUT = ("reconnect", "was lost", "begins again", "cannot be reached")
_STEP, _LONG = 3, 75
"""Seconds of the last step: of most builds, and of those that still build while the pods around them go."""
_RAMP = 1.5
"""Seconds between the starts of two of many clients."""
_LONGEST = 420.0
_BLOB = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A build after its end. ``began`` and ``ended`` are seconds since the start of all.

    ``rank`` is 0 for its key's first choice. ``hit``: the step of its repository came from the cache. ``warm``: the pod
    had built the repository before this build began.
    """

    phase: str
    repository: int
    pod: str = ""
    rank: int = 0
    hit: bool = False
    warm: bool = False
    waited: int = 0
    began: float = 0.0
    ended: float = 0.0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """The pool at one moment: pods wanted, pods ready, slots that builds hold, and builds in the queue."""

    seconds: float
    replicas: int
    ready: int
    building: int
    waiting: int


@dataclass(slots=True, kw_only=True)
class Load:
    """Builds on one builder. Thread-safe."""

    losses: Losses
    builder: str
    random: Random
    began: float = field(default_factory=time.monotonic)
    entries: list[Entry] = field(default_factory=list)
    warm: set[tuple[str, int]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clock(self) -> float:
        """Return the seconds since the start."""
        return round(time.monotonic() - self.began, 1)

    def build(self, phase: str, repository: int, seconds: int = _STEP) -> None:
        """Run one build to its end and add it."""
        with self.lock:
            known, began = set(self.warm), self.clock()
        options = self.losses.on(self.builder, "--retries", "0", "--queue-timeout", "10m")
        options += ("--sticky-key", f"{{target}}app{repository}")
        dockerfile = DOCKERFILE.format(repository=repository, seconds=seconds)
        build = self.losses.build(phase, *options, dockerfile=dockerfile)
        outcome = build.end(phase, "the pool changes")
        entry = read_entry(build.log, phase, repository, known, (*outcome.faults, *list_cuts(build.log)))
        if entry.faults:
            print(f"{build.name}: {'; '.join(entry.faults)}; {outcome.last_line}", file=sys.stderr, flush=True)
        clear(build)
        with self.lock:
            self.warm.add((entry.pod, repository))
            self.entries.append(Entry(**{**asdict(entry), "began": began, "ended": self.clock()}))

    def run(self, phase: str, clients: int, going: Callable[[], bool], *, ramp: float = 0.0) -> None:
        """Let ``clients`` build one repository after the other while ``going`` returns True."""
        draws = Random(self.random.random())

        def work(number: int) -> None:
            time.sleep(number * ramp)
            while going():
                with self.lock:
                    repository = draws.randrange(REPOSITORIES)
                self.build(phase, repository)

        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(work, range(clients)))

    def run_many(self, phase: str, clients: int, builds: int, *, ramp: float = 0.0) -> None:
        """Run a number of builds."""
        left = iter(range(builds))
        self.run(phase, clients, lambda: next(left, None) is not None, ramp=ramp)


def read_entry(
    log: str, phase: str, repository: int, known: Iterable[tuple[str, int]], faults: Sequence[str] = ()
) -> Entry:
    """Return what a build's log says of it; ``known`` are the pods and repositories that were built before it."""
    pods, choice, waited = ANSWERED.findall(log), _CHOICE.search(log), _WAITED.search(log)
    pod = pods[-1][0] if pods else ""
    step = _DEPENDENCIES.search(log)
    hit = step is not None and re.search(rf"^#{step[1]} CACHED$", log, re.M) is not None
    warm = (pod, repository) in known
    found = [*faults, *(["the pod had the step, but ran it again"] if warm and not hit else [])]
    return Entry(
        phase=phase,
        repository=repository,
        pod=pod,
        rank=int(choice[2] or 1) - 1 if choice else 0,
        hit=hit,
        warm=warm,
        waited=int(waited[1]) if waited else 0,
        faults=tuple(found),
    )


def list_cuts(log: str) -> list[str]:
    """Return the signs in a build's log that it lost its pod or its connection."""
    return [f"it was cut: {sign}" for sign in _CUT if sign in log]


def clear(build: Build) -> None:
    """Delete a build's context: hundreds of them would fill the machine's disk."""
    folder = build.ground.folder / build.name
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


def summarize(entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Return for each phase its builds, how many had the repository's step cached, and how many their first choice."""
    phases = dict.fromkeys(entry.phase for entry in entries)
    return {phase: _summarize_phase([one for one in entries if one.phase == phase]) for phase in phases}


def _summarize_phase(entries: Sequence[Entry]) -> dict[str, Any]:
    seconds = [one.ended - one.began for one in entries]
    return {
        "builds": len(entries),
        "failed": sum(bool(one.faults) for one in entries),
        "hits": sum(one.hit for one in entries),
        "hit_rate": round(statistics.mean(one.hit for one in entries), 3),
        "in_warm_pods": sum(one.warm for one in entries),
        "first_choices": round(statistics.mean(one.rank == 0 for one in entries), 3),
        "pods": len({one.pod for one in entries}),
        "median_seconds": round(statistics.median(seconds), 1),
        "p95_seconds": round(balance.percentile(seconds) if len(seconds) > 1 else seconds[0], 1),
        "longest_wait": max(one.waited for one in entries),
    }


def list_faults(entries: Sequence[Entry], samples: Sequence[Sample], left: Sequence[str]) -> list[str]:
    """Return what must not be: lost or cut builds, a wrong number of pods, Leases that are held after the end."""
    found = [f"{one.phase}, app{one.repository}: {fault}" for one in entries for fault in one.faults]
    sizes = [one.replicas for one in samples]
    if max(sizes) != PODS[1]:
        found.append(f"the pool has grown to {max(sizes)} pods")
    if max(one.ready for one in samples) < PODS[1]:
        found.append(f"at most {max(one.ready for one in samples)} pods were ready")
    if min(sizes) < PODS[0]:
        found.append(f"the pool has shrunk to {min(sizes)} pods")
    if sizes[-1] != PODS[0]:
        found.append(f"the pool has {sizes[-1]} pods at the end")
    return found + [f"Lease {name} is held at the end" for name in left]


@contextmanager
def watching(losses: Losses, builder: str, load: Load, kind: str) -> Iterator[list[Sample]]:
    """Take a sample of the pool each second."""
    kube, samples, over = losses.ground.kube, list[Sample](), threading.Event()
    workload = f"/apis/apps/v1/namespaces/{losses.namespace}/{kind.lower()}s/{builder}0"

    def watch() -> None:
        while not over.wait(1.0):
            try:
                found, held = kube.get(workload), list_leases(losses)
            except KubeBuilderError:
                continue
            building = sum(pool == "slot" and bool(holder) for _, pool, holder in held)
            waiting = sum(pool == "ticket" for _, pool, _ in held)
            pods = found["spec"]["replicas"], found["status"].get("readyReplicas", 0)
            samples.append(Sample(load.clock(), *pods, building, waiting))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def list_leases(losses: Losses) -> list[tuple[str, str, str]]:
    """Return name, kind and holder of the pool's Leases; a free slot has no holder."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{losses.namespace}/leases"
    found = losses.ground.kube.list(path, labelSelector="kube-builder.dev/pool")["items"]
    return [
        (
            one["metadata"]["name"],
            one["metadata"]["labels"]["kube-builder.dev/pool"],
            one["spec"].get("holderIdentity") or "",
        )
        for one in found
    ]


def grow_and_shrink(losses: Losses, kind: str, seed: int) -> dict[str, Any]:
    """Run all phases on one builder."""
    shape = f"replicas={PODS[0]}..{PODS[1]},max-builds={MOST},idle-timeout={IDLE}s{KINDS[kind]}"
    with losses.lasting(shape) as builder:
        load = Load(losses=losses, builder=builder, random=Random(seed))
        with watching(losses, builder, load, kind) as samples:
            with ThreadPoolExecutor(FEW) as threads:
                list(threads.map(lambda number: load.build("first", number), range(REPOSITORIES)))
            load.run_many("before", FEW, LOAD["before"])
            load.run_many("during", MANY, LOAD["during"], ramp=_RAMP)
            shrink(load, samples)
            load.run_many("after", FEW, LOAD["after"])
            time.sleep(2.0)
        left = [name for name, _, holder in list_leases(losses) if holder]
    return {
        "kind": kind,
        "shape": shape,
        "phases": summarize(load.entries),
        "seconds_to_grow": measure_growth(samples),
        "seconds_to_shrink": measure_shrinking(samples),
        "faults": list_faults(load.entries, samples, left),
        "samples": [list(asdict(one).values()) for one in samples],
        "entries": [asdict(one) for one in load.entries],
    }


def shrink(load: Load, samples: Sequence[Sample]) -> None:
    """Build a little until idle pods have been removed; a few long builds keep their pods meanwhile."""
    deadline = time.monotonic() + _LONGEST
    going = lambda: samples[-1].replicas > PODS[0] and time.monotonic() < deadline  # noqa: E731
    with ThreadPoolExecutor(FEW) as threads:
        long = [threads.submit(load.build, "down", number, _LONG) for number in range(FEW)]
        load.run("down", 1, going)
        for one in long:
            one.result()


def measure_growth(samples: Sequence[Sample]) -> float:
    """Return the seconds from the first change of the number of pods until all were ready; -1 if they never were."""
    begun = next((one.seconds for one in samples if one.replicas > PODS[0]), -1.0)
    full = next((one.seconds for one in samples if one.ready >= PODS[1]), -1.0)
    return round(full - begun, 1) if full >= 0 else -1.0


def measure_shrinking(samples: Sequence[Sample]) -> float:
    """Return the seconds from the first removed pod to the last; -1 if the pool did not become small again."""
    down = [one.seconds for before, one in pairwise(samples) if one.replicas < before.replicas]
    return round(down[-1] - down[0], 1) if down and samples[-1].replicas == PODS[0] else -1.0


def tell(found: dict[str, Any]) -> list[str]:
    """Format the results of one kind."""
    lines = [f"{found['kind']}, {found['shape']}"]
    for phase, one in found["phases"].items():
        lines.append(
            f"{phase:<8} {one['builds']:>4} builds in {one['pods']} pods, {one['failed']} failed, "
            f"{one['hit_rate']:.0%} cached, {one['first_choices']:.0%} first choices, "
            f"median {one['median_seconds']} s, longest wait {one['longest_wait']} s"
        )
    lines.append(f"grown in {found['seconds_to_grow']} s, shrunk in {found['seconds_to_shrink']} s")
    return lines + [f"broken: {fault}" for fault in found["faults"]]


def measure(prepared: Ground, kinds: Sequence[str], seed: int, save: Callable[[dict[str, Any]], None]) -> list[str]:
    """Run the kinds one after the other; return all faults."""
    faults: list[str] = []
    for kind in kinds:
        with opened(prepared, (Path(prepared.env["KUBECONFIG"]), lambda: None)) as losses:
            found = grow_and_shrink(losses, kind, seed)
        save(found)
        print("\n".join(tell(found)), flush=True)
        faults += found["faults"]
    return faults


def main() -> int:
    """Run the bench; return 1 if a build was lost or cut, or the pool did not follow the builds."""
    parser = argparse.ArgumentParser(prog="python -m bench.elastic", description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    file = RESULTS / f"elastic-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = parser.parse_args()
    host.become_root()
    document: dict[str, Any] = {"machine": machine.facts(), "commit": machine.commit(), "seed": arguments.seed}

    def save(found: dict[str, Any]) -> None:
        document[found["kind"]] = found
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n")

    with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
        faults = measure(prepared, arguments.kinds, arguments.seed, save)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
