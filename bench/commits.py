"""Successive commits of one repository on a builder with five replicas: the number of pods that build them.

Each commit is a git context, as CI systems pin it (`…/app.git#<commit>`). A step that only the first commit needs
writes random bytes: a pod that has them in its cache repeats them, another pod generates others.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import ours, peer
from bench.ground import PLATFORM, Ground
from bench.measure import Run
from devcluster.layout import Cluster

REPLICAS = 5
DOCKERFILE = """FROM busybox AS build
RUN head -c 8 /dev/urandom | od -An -tx1 > /pod
COPY commit /commit
FROM scratch
COPY --from=build /pod /commit /
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    """One contestant: ``commits`` built, ``pods`` used, and seconds in the order of the commits."""

    who: str
    commits: int
    pods: int
    seconds: tuple[float, ...]


class Repository:
    """A repository that grows by one commit at a time, and its bare copy in a folder that can be served."""

    def __init__(self, folder: Path, dockerfile: str = DOCKERFILE) -> None:
        self.folder = folder
        self.served = folder / "served"
        self.served.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")
        self._git("init", "-q", "--bare", "-b", "main", str(self.served / "app.git"))
        (folder / "Dockerfile").write_text(dockerfile)

    def commit(self, number: int) -> str:
        """Commit a change; return the commit's name."""
        (self.folder / "commit").write_text(f"{number}\n")
        self._git("add", "Dockerfile", "commit")
        self._git("commit", "-q", "-m", f"change {number}")
        self._git("push", "-q", str(self.served / "app.git"), "main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout


@contextmanager
def serving(folder: Path, cluster: Cluster) -> Iterator[str]:
    """Serve the repositories in ``folder`` to the cluster's pods; yield the beginning of their URLs."""
    host, port = str(cluster.host_address), _free_port(str(cluster.host_address))
    command = ["git", "daemon", "--export-all", "--reuseaddr", f"--base-path={folder}"]
    where = [f"--listen={host}", f"--port={port}", str(folder)]
    with subprocess.Popen([*command, *where], stderr=subprocess.DEVNULL) as daemon:
        try:
            _await_port(host, port)
            yield f"git://{host}:{port}"
        finally:
            daemon.terminate()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _await_port(host: str, port: int) -> None:
    for _ in range(500):
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError("git daemon does not listen")


def compare(ground: Ground, count: int) -> list[Commits]:
    """Build the same commits with both contestants, each on its own running builder."""
    contestants = (("kube-builder", _ours), ("buildx", _theirs))
    with ExitStack() as undo:
        builds = {who: undo.enter_context(prepare(ground)) for who, prepare in contestants}
        repository = Repository(ground.folder / "commits")
        url = undo.enter_context(serving(repository.served, ground.cluster))
        runs: dict[str, list[Run]] = {who: [] for who, _ in contestants}
        seen: dict[str, set[str]] = {who: set() for who, _ in contestants}
        for number in range(count):
            context = f"{url}/app.git#{repository.commit(number)}"
            for who, build in builds.items():
                target = ground.folder / f"{who}-{number}"
                runs[who].append(build(context, "--output", f"type=local,dest={target}"))
                seen[who].add((target / "pod").read_text())
    return [
        Commits(who=who, commits=count, pods=len(seen[who]), seconds=tuple(round(run.seconds, 3) for run in runs[who]))
        for who in runs
    ]


Build = Callable[..., Run]


@contextmanager
def _ours(ground: Ground) -> Iterator[Build]:
    """Yield a function that builds on a builder of kube-builder."""
    with ours.kept_builder(ground, [PLATFORM], f"replicas={REPLICAS}") as name:
        yield lambda context, *options: ours.build(ground, context, "--builder", name, *options)


@contextmanager
def _theirs(ground: Ground) -> Iterator[Build]:
    """Yield a function that builds on a builder of buildx's kubernetes driver."""
    with peer.prepared(ground) as buildx:
        name = "commits"
        try:
            buildx.create(name, replicas=REPLICAS)
            yield lambda context, *options: buildx.build(name, context, *options)
        finally:
            buildx.remove(name)


def table(found: Sequence[Commits]) -> list[str]:
    """Format the figures as a table."""
    return [
        f"{one.who}: {one.commits} commits on {one.pods} of {REPLICAS} pods, "
        f"median {statistics.median(one.seconds):.2f} s, longest {max(one.seconds):.2f} s"
        for one in found
    ]
