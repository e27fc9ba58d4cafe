"""`python -m bench.burst`: the same burst of builds on the same ten pods, placed in every way, with their caches.

Contestants are kube-builder's three policies, and docker buildx's remote driver on the same pods: placed by hashing
alone, by buildx's ring, or by HAProxy's `leastconn` in front of them. Before its burst each contestant builds every
repository once, which fills the caches; the burst has new sources. No contestant can use another's cache, because its
repositories have other dependencies. Results are written after each contestant, so an interrupted run keeps them.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from bench import balance, ground, machine, peer, pool, proxy
from bench.ground import PLATFORM, Ground
from bench.peer import PORT, Peer
from ci_buildx.builder import labels
from ci_buildx.builder.builder import SERVER_NAME
from ci_buildx.builder.lifecycle import records
from devcluster import host, layout, programs

RESULTS = Path(__file__).parent / "results"
PODS, BUILDS, REPOSITORIES = 10, 30, 40
BOUND = 4
"""Builds of a pod; of HAProxy's servers the connections of as many builds."""
DOCKERFILE = """FROM busybox
COPY dependencies /dependencies
RUN sleep 4
COPY sources /sources
RUN grep -o 'pods/[0-9a-f-]*' /proc/self/mountinfo | head -1 && sleep 6
"""
CACHED_STEP = "COPY dependencies "
FIRST_STEP = "load build definition"
"""What every build in buildkitd begins with. kube-builder's own steps, such as a wait in the queue, are before it."""
_POD = re.compile(r"pods/([0-9a-f-]{36})")
_PATIENCE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A build after its end. ``wait`` is from its command to buildkitd's first step, in seconds."""

    key: str
    pod: str = ""
    wait: float = 0.0
    seconds: float = 0.0
    hit: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The burst of one contestant; ``hits`` of ``chances`` builds found their dependencies in a cache.

    A build has a chance if the earlier build of its repository succeeded. ``connections`` are all those of HAProxy, by
    its codes of their ends; ``fills`` of the earlier builds succeeded.
    """

    who: str
    bound: int
    succeeded: int
    fills: int
    wait_p50: float
    wait_p95: float
    hits: int
    chances: int
    busiest: int
    idle: int
    seconds: float
    waits: list[float]
    errors: list[str]
    connections: dict[str, int]


Command = Callable[[int, str, Path], Sequence[str]]
"""The command of a build, by its number, repository and context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """A builder of ten pods: names, addresses and UIDs in the order of the names."""

    ground: Ground
    namespace: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    uids: tuple[str, ...]

    def set_policy(self, policy: str, most: int) -> None:
        """Change how builds are placed."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/pool0"
        notes = {labels.LOADBALANCE: policy, labels.MAX_BUILDS: str(most)}
        self.ground.kube.patch(path, {"metadata": {"annotations": notes}})


@contextmanager
def opened(prepared: Ground) -> Iterator[Pods]:
    """Provide the builder."""
    namespace = f"burst-{int(time.time())}"
    prepared.kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        prepared.account.let_into(namespace)
        shape = f"namespace={namespace},replicas={PODS},max-builds={BOUND},timeout=5m"
        options = ["--driver-opt", shape, "--buildkitd-config", str(prepared.buildkitd_config), "--platform", PLATFORM]
        create = [str(prepared.product), "create", "--name", "pool", "--bootstrap", *options]
        subprocess.run(create, env=prepared.env, check=True)
        items = prepared.kube.list(f"/api/v1/namespaces/{namespace}/pods")["items"]
        items.sort(key=lambda item: str(item["metadata"]["name"]))
        yield Pods(
            ground=prepared,
            namespace=namespace,
            names=tuple(str(item["metadata"]["name"]) for item in items),
            addresses=tuple(f"{item['status']['podIP']}:{PORT}" for item in items),
            uids=tuple(str(item["metadata"]["uid"]) for item in items),
        )
    finally:
        prepared.kube.delete(f"/api/v1/namespaces/{namespace}")


class Burst:
    """Runs waves of builds for one contestant after the other."""

    def __init__(self, pods: Pods, seed: int, builds: int, tell: Callable[[list[Wave]], None]) -> None:
        self.pods = pods
        self.keys = pool.make_zipf_keys(REPOSITORIES, builds, seed)
        self.seed = seed
        self.tell = tell
        self.found: list[Wave] = []

    def compare(self, who: str, bound: int, command: Command, through: proxy.Proxy | None = None) -> Wave:
        """Run both waves and add what was found."""
        before = self._run(who, 0, command, [self.keys.index(key) for key in sorted(set(self.keys))])
        began = time.monotonic()
        ended = self._run(who, 1, command, range(len(self.keys)))
        seconds = time.monotonic() - began
        known = {one.key for one in before if not one.error}
        good = [one for one in ended if not one.error]
        waits = sorted(round(one.wait, 2) for one in good)
        loads = Counter(one.pod for one in good)
        ends = Counter(end for *_, end in through.list_connections()) if through else {}
        wave = Wave(
            who=who,
            bound=bound,
            succeeded=len(good),
            fills=sum(not one.error for one in before),
            wait_p50=round(statistics.median(waits), 2) if waits else 0.0,
            wait_p95=round(balance.percentile(waits), 2) if len(waits) > 1 else 0.0,
            hits=sum(one.hit for one in good if one.key in known),
            chances=sum(one.key in known for one in ended),
            busiest=max(loads.values(), default=0),
            idle=PODS - len(loads),
            seconds=round(seconds, 1),
            waits=waits,
            errors=sorted({one.error for one in (*before, *ended) if one.error}),
            connections=dict(ends),
        )
        self.found.append(wave)
        print(format_wave(wave), flush=True)
        self.tell(self.found)
        return wave

    def _run(self, who: str, wave: int, command: Command, numbers: Sequence[int]) -> list[Ended]:
        with ThreadPoolExecutor(len(numbers)) as threads:
            return list(threads.map(lambda number: self._build(who, wave, number, command), numbers))

    def _build(self, who: str, wave: int, number: int, command: Command) -> Ended:
        key = self.keys[number]
        # Each build of a repository has its own folder, as each job has its own checkout.
        context = self.pods.ground.folder / re.sub(r"\W+", "-", f"{who}-{wave}-{number}")
        write_context(context, f"{self.seed}/{who}/{key}", f"{self.seed}/{who}/{wave}/{number}")
        began = time.time()
        try:
            done = subprocess.run(
                [*command(number, key, context), "--progress", "rawjson", str(context)],
                env=self.pods.ground.env | {"BUILDX_CONFIG": str(self.pods.ground.folder / "buildx")},
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return Ended(key=key, error=f"not ended after {_PATIENCE} s")
        output = f"{done.stdout}\n{done.stderr}"
        if done.returncode:
            lines = [line for line in output.splitlines() if line.strip() and not line.startswith("{")]
            return Ended(key=key, error=f"{done.returncode}: {' '.join(lines)[-300:]}")
        seconds = time.time() - began
        return read_progress(output, key, began, seconds)


def write_context(context: Path, dependencies: str, sources: str) -> None:
    """Write a repository's checkout: dependencies and sources are random bytes of these seeds."""
    for name, seed, size in (("dependencies", dependencies, 100_000), ("sources", sources, 20_000)):
        (context / name).mkdir(parents=True)
        (context / name / "data").write_bytes(Random(seed).randbytes(size))
    (context / "Dockerfile").write_text(DOCKERFILE)


def read_progress(output: str, key: str, began: float, seconds: float) -> Ended:
    """Read pod, wait and cache hit of a successful build from its progress. ``began`` is a time of `time.time`."""
    starts: list[float] = []
    hit, pod = False, ""
    for line in output.splitlines():
        with suppress(json.JSONDecodeError):
            status = json.loads(line)
            if not isinstance(status, dict):
                continue
            for vertex in status.get("vertexes") or ():
                if FIRST_STEP in vertex.get("name", "") and vertex.get("started"):
                    starts.append(parse_time(vertex["started"]))
                if CACHED_STEP in vertex.get("name", "") and vertex.get("completed"):
                    hit = bool(vertex.get("cached"))
            for log in status.get("logs") or ():
                if found := _POD.search(base64.b64decode(log.get("data") or "").decode(errors="replace")):
                    pod = found.group(1)
    if not starts or not pod:
        return Ended(key=key, error=f"no progress: {output[-300:]}")
    return Ended(key=key, pod=pod, wait=max(0.0, min(starts) - began), seconds=seconds, hit=hit)


def parse_time(text: str) -> float:
    """Read a time of RFC 3339 with nanoseconds, in seconds since 1970."""
    whole, _, rest = text.partition(".")
    digits = re.match(r"\d*", rest)
    zone = rest[digits.end() :] if digits and rest else text[19:]
    fraction = digits.group() if digits and rest else "0"
    moment = datetime.fromisoformat(whole[:19] + (zone.replace("Z", "+00:00") or "+00:00"))
    return moment.timestamp() + float(f"0.{fraction or 0}")


def make_remotes(buildx: Peer, pods: Pods, addresses: Sequence[str]) -> list[str]:
    """Create builders of buildx's remote driver at these addresses, with the certificates of our builder."""
    kube = pods.ground.kube
    keys = records.load_builder(kube, records.find_builder(kube, "pool", pods.namespace)).keys
    options = [f"servername={SERVER_NAME}"]
    for name, content in (("cacert", keys.ca), ("cert", keys.certificate), ("key", keys.key.reveal())):
        (pods.ground.folder / name).write_bytes(content)
        options.append(f"{name}={pods.ground.folder / name}")
    names = []
    for address in addresses:
        name = re.sub(r"\W+", "-", f"at-{address}")
        buildx.call(
            "create", "--name", name, "--driver", "remote", "--driver-opt", ",".join(options), f"tcp://{address}"
        )
        names.append(name)
    return names


def run_all(prepared: Ground, pods: Pods, burst: Burst) -> None:
    """Run all contestants."""
    buildx_program = str(programs.path("buildx"))

    def ours(_: int, key: str, __: Path) -> Sequence[str]:
        where = ["--builder", "pool", "--namespace", pods.namespace, "--sticky-key", f"{{target}}{key}"]
        return [str(prepared.product), "build", *where, "--queue-timeout", "5m"]

    def at(builders: Sequence[str]) -> Command:
        return lambda number, _, __: [buildx_program, "build", "--builder", builders[number]]

    burst.compare("kube-builder, sticky", BOUND, ours)
    with peer.prepared(prepared) as buildx:
        each = count_connections(buildx, pods)
        address = str(prepared.cluster.host_address)
        for who, most, queue in ((f"{BOUND} builds a pod", BOUND * each, "5m"), ("one connection a pod", 1, "20s")):
            with proxy.running(prepared.folder, address, pods.addresses, most=most, queue=queue) as running:
                [front] = make_remotes(buildx, pods, [running.address])
                burst.compare(f"HAProxy leastconn, {who}", most, at([front] * len(burst.keys)), running)
        remotes = dict(zip(pods.names, make_remotes(buildx, pods, pods.addresses), strict=True))
        for who, choose in (("buildx's ring", balance.theirs), ("hashing alone", balance.ours)):
            chosen = choose([list(pods.names)], burst.keys)[0]
            burst.compare(who, 0, at([remotes[name] for name in chosen]))
    for policy in ("least", "random"):
        pods.set_policy(policy, BOUND)
        burst.compare(f"kube-builder, {policy}", BOUND, ours)
    pods.set_policy("sticky", 1)
    burst.compare("kube-builder, sticky, one build a pod", 1, ours)


def count_connections(buildx: Peer, pods: Pods) -> int:
    """Return the connections of one build of buildx, as HAProxy counts them."""
    address, folder = str(pods.ground.cluster.host_address), pods.ground.folder
    with proxy.running(folder, address, pods.addresses, most=99, queue="5m") as running:
        [front] = make_remotes(buildx, pods, [running.address])
        write_context(folder / "single", "single", "single")
        before = len(running.list_connections())
        buildx.build(front, folder / "single")
        time.sleep(1)
        return len(running.list_connections()) - before


def format_wave(wave: Wave) -> str:
    """Format a contestant's figures."""
    return (
        f"{wave.who:<56} {wave.succeeded}/{BUILDS} wait {wave.wait_p50:5.1f} {wave.wait_p95:5.1f} s  "
        f"hits {wave.hits}/{wave.chances}  busiest {wave.busiest} idle {wave.idle}  {wave.seconds} s"
    )


def main() -> int:
    """Run the comparison; return 1 if a build of kube-builder failed."""
    made = argparse.ArgumentParser(prog="python -m bench.burst", description=__doc__)
    made.add_argument("--seed", type=int, default=1, metavar="N")
    made.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    made.add_argument("--json", type=Path, default=RESULTS / f"burst-{time.strftime('%Y-%m-%d')}.json", metavar="FILE")
    arguments = made.parse_args()
    host.become_root()
    proxy.install()
    programs.build(["clients", "ring"])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"machine": machine.facts(), "seed": arguments.seed, "builds": BUILDS, "pods": PODS}

    def tell(waves: list[Wave]) -> None:
        document["waves"] = [asdict(wave) for wave in waves]
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")

    with ground.prepared(layout.cluster(arguments.cluster)) as prepared, opened(prepared) as pods:
        burst = Burst(pods, arguments.seed, BUILDS, tell)
        run_all(prepared, pods, burst)
    failed = [wave.who for wave in burst.found if wave.who.startswith("kube-builder") and wave.succeeded < BUILDS]
    for who in failed:
        print(f"broken: {who}: not all builds succeeded")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
