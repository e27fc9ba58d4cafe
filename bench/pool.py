"""A pool on a real API server: pods that exist there but run nothing, and builds that hold slots in them for a while.

Everything else is the product's: the account has the rights of docs/rbac, each build has its own client, claims its
slot, renews it and gives it up. So hundreds of builds fit on a small machine, and all races are those of the server.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import locate_lasting_builder
from ci_buildx.builder.pods import PodView, choose_pod, read_pod
from ci_buildx.builder.pool import scaling
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import PoolNode
from ci_buildx.builder.pool.placement import PlacementRule
from ci_buildx.builder.pool.pool import PodPool, PodSlot, SlotRequest
from ci_buildx.builder.pool.queue import SlotQueue
from ci_buildx.builder.pool.scaling import ElasticNode
from ci_buildx.errors import QueueTimeout
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import ApiConnection
from ci_buildx.kube.exchange import ApiCall, ApiExchange, RetryPolicy
from ci_buildx.settings.builder import LoadBalance
from ci_buildx.settings.values import ClusterSettings
from ci_buildx.wire.http1 import ResponseReader
from devcluster.accounts import Account

GATE = "bench.kube-builder.dev/never"
"""Scheduling gate of the pods: no cluster node has to run them."""
LONGEST = 600.0


class CountingExchange(ApiExchange):
    """Counts calls by method; a watch is a call to list and one to follow."""

    def __init__(self, cluster: ClusterAccess) -> None:
        super().__init__(cluster, RetryPolicy())
        self.calls: dict[str, int] = {}

    def call(self, call: ApiCall) -> dict[str, Any]:
        """Count and send a call."""
        self.calls[call.method] = self.calls.get(call.method, 0) + 1
        return super().call(call)

    def open_stream(self, call: ApiCall, deadline: float) -> tuple[ApiConnection, ResponseReader, bytes]:
        """Count and open a watch."""
        self.calls["WATCH"] = self.calls.get("WATCH", 0) + 1
        return super().open_stream(call, deadline)


class CountingClient(KubeClient):
    """A client that counts its calls."""

    def __init__(self, cluster: ClusterAccess) -> None:
        super().__init__(cluster)
        counting = CountingExchange(cluster)
        self._exchange, self.calls = counting, counting.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One simulated build: its repository, when it begins and how long it runs, both in seconds."""

    number: int
    key: str
    begins: float = 0.0
    lasts: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A build after its end; times are seconds since the start of all. ``rank`` is 0 for its key's first choice."""

    build: Build
    pod: str = ""
    rank: int = 0
    asked: float = 0.0
    got: float = 0.0
    ended: float = 0.0
    queued: bool = False
    error: str = ""
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def waited(self) -> float:
        """Seconds from the request to the slot."""
        return self.got - self.asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A builder's node of idle pods in a namespace of the API server, for the product's account."""

    kube: KubeClient
    access: ClusterAccess
    node: PoolNode
    pods: tuple[PodView, ...]

    def connect(self) -> CountingClient:
        """Return the client of one job."""
        return CountingClient(self.access)

    def request(self, key: str, *, policy: LoadBalance, most: int, timeout: float = LONGEST) -> SlotRequest:
        """Return what one build asks for."""
        return SlotRequest(
            node=self.node,
            rule=PlacementRule(policy=policy, key=key, most=most),
            list_pods=lambda: self.pods,
            explain=lambda _: None,
            warn=lambda _: None,
            stop=threading.Event(),
            timeout=timeout,
        )

    def leases(self) -> list[dict[str, Any]]:
        """Return the slots and tickets that exist, as an administrator sees them."""
        found: list[dict[str, Any]] = self.kube.list(self.node.path, labelSelector=self.node.selector)["items"]
        return found


@contextmanager
def opened(kube: KubeClient, account: Account, count: int) -> Iterator[Pool]:
    """Provide a pool of ``count`` pods; its namespace is deleted at the end."""
    namespace = f"pool-{secrets.token_hex(3)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        account.let_into(namespace)
        location = locate_lasting_builder("kube", namespace)
        pods = tuple(_make_pod(kube, namespace, number) for number in range(count))
        access = config.load_cluster(ClusterSettings(kubeconfig=(account.kubeconfig,)), env={})
        yield Pool(kube=kube, access=access, node=PoolNode(location=location, name="kube0"), pods=pods)
    finally:
        kube.delete(f"/api/v1/namespaces/{namespace}")


def _make_pod(kube: KubeClient, namespace: str, number: int) -> PodView:
    """Create a pod that is never scheduled; its slots belong to it."""
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: "kube", labels.NODE: "kube0"}
    suffix = "".join(Random(f"{namespace}{number}").choices("bcdfghjklmnpqrstvwxz2456789", k=5))
    made = kube.create(
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "metadata": {"name": f"kube0-7d9f8c6b5-{suffix}", "labels": marks},
            "spec": {"schedulingGates": [{"name": GATE}], "containers": [{"name": "buildkitd", "image": "none"}]},
        },
    )
    view = read_pod(made)
    return PodView(name=view.name, namespace=namespace, node="kube0", host="n1", ready=True, uid=view.uid)


def run_builds(
    pool: Pool, builds: Sequence[Build], *, policy: LoadBalance = LoadBalance.STICKY, most: int = 0, seed: int = 0
) -> list[Run]:
    """Run all builds to their ends, each in its own thread with its own client."""
    started = time.monotonic()
    runs: list[Run] = []
    threads = [
        threading.Thread(target=lambda one=build: runs.append(_run(pool, one, policy, most, seed, started)))
        for build in builds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(runs, key=lambda one: one.build.number)


def _run(pool: Pool, build: Build, policy: LoadBalance, most: int, seed: int, started: float) -> Run:
    time.sleep(max(0.0, started + build.begins - time.monotonic()))
    asked = time.monotonic() - started
    with pool.connect() as kube:
        keeper = LeaseKeeper(kube, secrets.token_hex(8))
        mine = PodPool(
            kube, keeper, pool.request(build.key, policy=policy, most=most), draw=Random(f"{seed}/{build.number}")
        )
        try:
            slot = mine.try_at_once()
            queued = slot is None
            slot = slot or SlotQueue(kube, mine).wait()
        except QueueTimeout as failure:
            return Run(build=build, asked=asked, error=str(failure), calls=kube.calls)
        got = time.monotonic() - started
        time.sleep(build.lasts)
        ended = time.monotonic() - started
        keeper.close()
        return Run(
            build=build,
            pod=slot.placement.pod.name,
            rank=slot.placement.rank,
            asked=asked,
            got=got,
            ended=ended,
            queued=queued,
            calls=dict(kube.calls),
        )


def make_zipf_keys(repositories: int, count: int, seed: int) -> list[str]:
    """Return the repositories of ``count`` builds: the n-th most frequent has the weight 1/n."""
    random = Random(seed)
    names = [f"team{number % 7}/app{number:02}" for number in range(repositories)]
    return random.choices(names, weights=[1 / (number + 1) for number in range(repositories)], k=count)


def count_peaks(runs: Sequence[Run]) -> dict[str, int]:
    """Return the largest number of builds that each pod ran at the same time."""
    peaks: dict[str, int] = {}
    for pod in {run.pod for run in runs if run.pod}:
        moments = [(run.got, 1) for run in runs if run.pod == pod] + [(run.ended, -1) for run in runs if run.pod == pod]
        running = 0
        for _, change in sorted(moments):
            running += change
            peaks[pod] = max(peaks.get(pod, 0), running)
    return peaks


def compute_ideal_wait(runs: Sequence[Run], servers: int) -> float:
    """Return the longest wait of the same builds in an ideal FIFO queue with as many servers and no delays."""
    free = [0.0] * servers
    longest = 0.0
    for run in sorted(runs, key=lambda one: one.asked):
        free.sort()
        begin = max(free[0], run.asked)
        longest = max(longest, begin - run.asked)
        free[0] = begin + run.build.lasts
    return longest


def place_by_hash(pool: Pool, keys: Sequence[str]) -> list[str]:
    """Return the pods that hashing alone would choose."""
    names = [pod.name for pod in pool.pods]
    return [choose_pod(key, names) for key in keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class Racer:
    """One of several builds that want the last slot at the same moment."""

    pool: Pool
    kube: KubeClient

    def race(self, name: str, most: int, begin: Callable[[], object]) -> LeaseKeeper | None:
        """Return the keeper of the slot that was won, None if another build has it."""
        keeper = LeaseKeeper(self.kube, name)
        request = self.pool.request("team/app", policy=LoadBalance.STICKY, most=most, timeout=0.0)
        mine = PodPool(self.kube, keeper, request, draw=Random(name))
        begin()
        slot: PodSlot | None = mine.try_at_once()
        return keeper if slot else None


def race_for_last_pod(kube: KubeClient, racers: Sequence[Racer], elastic: ElasticNode, seed: int) -> int:
    """Let all racers add the last pod of an elastic node at once; return how many did."""
    version = kube.patch(elastic.path, {"spec": {"replicas": elastic.scaling.most - 1}})
    assert version["spec"]["replicas"] == elastic.scaling.most - 1
    barrier = threading.Barrier(len(racers))
    order = Random(seed).sample(range(len(racers)), len(racers))
    added: list[int] = []

    def run(number: int) -> None:
        barrier.wait()
        added.append(scaling.add_pods(racers[number].kube, elastic, 100))

    threads = [threading.Thread(target=run, args=(number,)) for number in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kube.get(elastic.path)["spec"]["replicas"] == elastic.scaling.most
    return sum(count == 1 for count in added)


def race_for_last_slot(racers: Sequence[Racer], seed: int, *, most: int) -> int:
    """Let all racers claim the last free slot at once; return how many got one. Their slots are given up."""
    barrier = threading.Barrier(len(racers))
    order = Random(seed).sample(range(len(racers)), len(racers))
    won: list[LeaseKeeper] = []

    def run(number: int) -> None:
        keeper = racers[number].race(f"{seed}-{number}", most, barrier.wait)
        if keeper is not None:
            won.append(keeper)

    threads = [threading.Thread(target=run, args=(number,)) for number in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for keeper in won:
        keeper.close()
    return len(won)
