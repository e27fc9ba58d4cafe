"""`python -m bench.week`: a week of commits of many repositories on pools that collect garbage, in an hour.

Three pools of real pods get the same commits: kube-builder's `sticky` and `random`, and docker buildx's ring. The
repositories' shares follow Zipf. Most commits change only the sources; some change the dependencies, which the next
commits of that repository can take from the cache of a pod that has them. A pod keeps so much that its share of the
repositories fits, and all repositories do not. In the middle of the week each pool loses a pod with its cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from bench import ground, machine, measure, peer
from bench.ground import PLATFORM, Ground
from bench.lost_pods import find_daemon, list_ready_pods
from bench.measure import CommandFailed
from ci_buildx.builder.manifests import podspec
from devcluster import host, layout, programs

RESULTS = Path(__file__).parent / "results"
DAYS = 7
REPLICAS = 4
REPOSITORIES = 200
DEPENDENCIES, SOURCES = 400_000, 20_000
"""Bytes of a repository's two folders. They are random, so that compression does not shrink them."""
KEPT = 40
"""MB that a pod may keep: a quarter of the repositories needs about 50, all of them about 170."""
CHANGES = 0.08
"""Share of the commits that change the dependencies."""
DOCKERFILE = "FROM busybox\nCOPY dependencies /dependencies\nCOPY sources /sources\n"
CACHED_STEP = "COPY dependencies "

_AT_ONCE = 3
_SAMPLES_A_DAY = 4
_SETTINGS = f"""
[worker.oci]
  gc = true
[[worker.oci.gcpolicy]]
  all = true
  maxUsedSpace = "{KEPT}MB"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of a repository; ``is_new`` if no earlier one had its dependencies."""

    repository: int
    is_new: bool
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A pool at a time of the week, counted in days.

    ``hits`` and ``chances`` are builds since the last moment: those that found dependencies in the cache, and those
    that could have found them in some pod. ``disk`` is the size of each pod's state in MB. ``sessions`` are those of
    each pod since the last moment: kube-builder opens one for a build, docker buildx two. ``seconds`` are those of the
    builds, in sum.
    """

    day: float
    hits: int
    chances: int
    seconds: float
    disk: list[float]
    sessions: list[int]


@dataclass(slots=True, kw_only=True)
class WeekOfPool:
    """A contestant's week. ``lost`` is the day on which a pod was lost; ``faults`` are builds that failed."""

    who: str
    lost: float = 0.0
    moments: list[Moment] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def draw_commits(count: int, seed: int) -> list[Commit]:
    """Draw a week's commits. The first one of a repository is always new."""
    drawn, seen = Random(seed), set[int]()
    weights = [1 / (place + 1) for place in range(REPOSITORIES)]
    commits = []
    for repository in drawn.choices(range(REPOSITORIES), weights, k=count):
        is_new = repository not in seen or drawn.random() < CHANGES
        seen.add(repository)
        commits.append(Commit(repository=repository, is_new=is_new, seed=drawn.getrandbits(32)))
    return commits


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPool:
    """A contestant's builder: how to build on it, and where its pods are."""

    ground: Ground
    who: str
    namespace: str
    build: Callable[[Path, Sequence[str]], str]

    def list_pods(self) -> list[dict[str, Any]]:
        """Return its ready pods, in the order of their names."""
        return list_ready_pods(self.ground.kube, self.namespace)

    def measure_disk(self) -> list[float]:
        """Return the size of each pod's state in MB."""
        return [_measure_state(str(pod["metadata"]["uid"])) for pod in self.list_pods()]

    def count_sessions(self, since: float) -> list[int]:
        """Return how many sessions each pod had since a time of `time.time`: its log has a line for each.

        Only that much of the log is read: the kubelet begins a new file after 10 MiB.
        """
        paths = [f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/log" for pod in self.list_pods()]
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
        logs = [b"".join(self.ground.kube.open_stream(path, sinceTime=begin)) for path in paths]
        return [log.count(b"session started") for log in logs]

    def lose_pod(self) -> None:
        """Delete a pod with its cache, and wait until another one is ready."""
        name = str(self.list_pods()[0]["metadata"]["name"])
        self.ground.kube.delete(f"/api/v1/namespaces/{self.namespace}/pods/{name}", gracePeriodSeconds=0)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            names = [str(pod["metadata"]["name"]) for pod in self.list_pods()]
            if len(names) >= REPLICAS and name not in names:
                return
            time.sleep(0.5)
        raise TimeoutError(f"{self.who}: no pod in the place of {name}")


def _measure_state(uid: str) -> float:
    root = f"/proc/{find_daemon(uid)}/root{podspec.FOLDER}"
    # Files may vanish meanwhile, which `du` tells by its exit code.
    done = subprocess.run(["du", "-s", "-B1", root], capture_output=True, text=True, check=False)
    return round(int(done.stdout.split()[0]) / 1e6, 1)


class WeekRunner:
    """Gives a pool the week's commits, a few at a time, and measures it between them."""

    def __init__(self, pool: SharedPool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.found = WeekOfPool(who=pool.who)
        self._locks = [threading.Lock() for _ in range(REPOSITORIES)]
        self._looked = time.time()

    def run(self, commits: Sequence[Commit], tell: Callable[[WeekOfPool], None]) -> WeekOfPool:
        """Build all commits; call ``tell`` after each moment."""
        parts = DAYS * _SAMPLES_A_DAY
        bounds = [len(commits) * part // parts for part in range(parts + 1)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for part in range(parts):
                if part == parts // 2:
                    self.found.lost = part / _SAMPLES_A_DAY
                    self.pool.lose_pod()
                    self._looked = time.time()
                outcomes = list(threads.map(self._build, commits[bounds[part] : bounds[part + 1]]))
                self.found.moments.append(self._look((part + 1) / _SAMPLES_A_DAY, outcomes))
                tell(self.found)
        return self.found

    def _build(self, commit: Commit) -> tuple[bool, bool, float]:
        """Return whether the dependencies could be in a cache, whether they were, and the seconds."""
        with self._locks[commit.repository]:
            context = write_commit(self.folder, commit)
            began = time.monotonic()
            try:
                output = self.pool.build(context, ("--progress", "rawjson"))
            except CommandFailed as failure:
                self.found.faults.append(f"{failure}"[-2000:])
                return False, False, 0.0
            return not commit.is_new, is_hit(output), time.monotonic() - began

    def _look(self, day: float, outcomes: Sequence[tuple[bool, bool, float]]) -> Moment:
        since, self._looked = self._looked, time.time()
        return Moment(
            day=day,
            hits=sum(could and hit for could, hit, _ in outcomes),
            chances=sum(could for could, _, _ in outcomes),
            seconds=round(sum(seconds for _, _, seconds in outcomes), 1),
            disk=self.pool.measure_disk(),
            sessions=self.pool.count_sessions(since),
        )


def write_commit(folder: Path, commit: Commit) -> Path:
    """Write what a commit changes into its repository's folder, and return the folder."""
    context, drawn = folder / f"app{commit.repository}", Random(commit.seed)
    if commit.is_new:
        (context / "dependencies").mkdir(parents=True, exist_ok=True)
        (context / "sources").mkdir(exist_ok=True)
        (context / "dependencies" / "library").write_bytes(drawn.randbytes(DEPENDENCIES))
        (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "sources" / "main").write_bytes(drawn.randbytes(SOURCES))
    return context


def is_hit(output: str) -> bool:
    """Return whether the step with the dependencies came from the cache. Raises ValueError if there is none."""
    found = None
    for line in output.splitlines():
        with suppress(json.JSONDecodeError):
            status = json.loads(line)
            for vertex in (status.get("vertexes") or ()) if isinstance(status, dict) else ():
                if CACHED_STEP in vertex.get("name", "") and vertex.get("completed"):
                    found = bool(vertex.get("cached"))
    if found is None:
        raise ValueError(f"no step {CACHED_STEP!r} in the build's progress: {output[-500:]}")
    return found


@contextmanager
def open_ours(prepared: Ground, policy: str) -> Iterator[SharedPool]:
    """Provide a pool of kube-builder."""
    namespace, name = f"week-{policy}", "pool"
    program = str(prepared.product)
    prepared.kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        prepared.account.let_into(namespace)
        shape = f"namespace={namespace},replicas={REPLICAS},max-builds={_AT_ONCE},loadbalance={policy}"
        config = ["--buildkitd-config", str(prepared.buildkitd_config), "--platform", PLATFORM]
        create = [program, "create", "--name", name, "--bootstrap", "--driver-opt", shape, *config]
        measure.run(create, env=prepared.env)

        def build(context: Path, options: Sequence[str]) -> str:
            on = ["--builder", name, "--namespace", namespace, "--sticky-key", f"{{target}}{context.name}"]
            return measure.run([program, "build", *on, *options, str(context)], env=prepared.env).output

        yield SharedPool(ground=prepared, who=f"kube-builder, {policy}", namespace=namespace, build=build)
    finally:
        prepared.kube.delete(f"/api/v1/namespaces/{namespace}")


@contextmanager
def open_theirs(prepared: Ground) -> Iterator[SharedPool]:
    """Provide a builder of docker buildx's kubernetes driver, whose ring takes the context's path as the key."""
    with peer.prepared(prepared) as buildx:
        buildx.create("week", replicas=REPLICAS)

        def build(context: Path, options: Sequence[str]) -> str:
            return buildx.build("week", context, *options).output

        yield SharedPool(ground=prepared, who="docker buildx's ring", namespace=buildx.namespace, build=build)


def main() -> int:
    """Run the week on all pools at the same time; return 1 if a build failed."""
    made = argparse.ArgumentParser(prog="python -m bench.week", description=__doc__)
    made.add_argument("--commits", type=int, default=2500, metavar="N", help="of the whole week (default: 2500)")
    made.add_argument("--seed", type=int, default=1, metavar="N")
    made.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    file = RESULTS / f"week-{time.strftime('%Y-%m-%d')}.json"
    made.add_argument("--json", type=Path, default=file, metavar="FILE")
    arguments = made.parse_args()
    host.become_root()
    programs.build(["clients"])
    commits, began = draw_commits(arguments.commits, arguments.seed), time.monotonic()
    document: dict[str, Any] = {"commits": len(commits), "repositories": REPOSITORIES, "kept": KEPT, "pools": {}}
    writing = threading.Lock()

    def tell(found: WeekOfPool) -> None:
        last = found.moments[-1]
        print(
            f"{found.who:24} day {last.day:4.2f}: {last.hits} of {last.chances}, {last.disk} MB, {last.sessions}",
            flush=True,
        )
        with writing:
            document["pools"][found.who] = asdict(found)
            document["minutes"] = round((time.monotonic() - began) / 60, 1)
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")

    with ground.prepared(layout.cluster(arguments.cluster)) as plain, ExitStack() as undo:
        settings = plain.folder / "week.toml"
        settings.write_text(f"debug = true\n{plain.buildkitd_config.read_text()}{_SETTINGS}")
        prepared = replace(plain, buildkitd_config=settings)
        document["machine"] = machine.facts()
        ways = (open_ours(prepared, "sticky"), open_ours(prepared, "random"), open_theirs(prepared))
        pools = [undo.enter_context(way) for way in ways]
        with ThreadPoolExecutor(len(pools)) as threads:
            runners = [WeekRunner(pool, prepared.folder / f"week{place}") for place, pool in enumerate(pools)]
            weeks = list(threads.map(lambda runner: runner.run(commits, tell), runners))
    return int(any(week.faults for week in weeks))


if __name__ == "__main__":
    sys.exit(main())
