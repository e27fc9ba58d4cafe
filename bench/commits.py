"""Successive commits of one repository on a builder with five replicas: on how many pods they are built.

Each commit is a git context, as CI systems pin it (`https://host/app.git#<commit>`). A step that only the first
commit needs writes down some random bytes: whatever pod has them in its cache repeats them, another makes others.
"""

from __future__ import annotations

import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
    """One contestant: how many ``commits`` it built, on how many ``pods``, and seconds in the order of the commits."""

    who: str
    commits: int
    pods: int
    seconds: tuple[float, ...]


class Repository:
    """A repository that is served as files, as any web server can (git's dumb protocol), and grows by a commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = folder / "served" / "app.git"
        self.folder.mkdir()
        self._git("init", "-q", "-b", "main")
        (folder / "Dockerfile").write_text(DOCKERFILE)

    def commit(self, number: int) -> str:
        """Commit something; the commit's name."""
        (self.folder / "commit").write_text(f"{number}\n")
        self._git("add", "Dockerfile", "commit")
        self._git("commit", "-q", "-m", f"change {number}")
        if not self.served.exists():
            self._git("clone", "-q", "--bare", ".", str(self.served))
        self._git("push", "-q", str(self.served), "main")
        self._git("-C", str(self.served), "update-server-info")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout


@contextmanager
def serving(folder: Path, cluster: Cluster) -> Iterator[str]:
    """Serve ``folder`` on the host's end of the cluster's link, which pods reach; yields host and port."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer((str(cluster.host_address), 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{cluster.host_address}:{server.server_port}"
        server.shutdown()


def compare(ground: Ground, count: int) -> list[Commits]:
    """The same commits by both, each on a builder of its own that is up."""
    contestants = (("kube-builder", _ours), ("buildx", _theirs))
    with ExitStack() as undo:
        builds = {who: undo.enter_context(prepare(ground)) for who, prepare in contestants}
        repository = Repository(ground.folder / "commits")
        host = undo.enter_context(serving(repository.served.parent, ground.cluster))
        runs: dict[str, list[Run]] = {who: [] for who, _ in contestants}
        seen: dict[str, set[str]] = {who: set() for who, _ in contestants}
        for number in range(count):
            context = f"http://{host}/app.git#{repository.commit(number)}"
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
    """Builds on a builder of ours."""
    with ours.kept_builder(ground, [PLATFORM], f"replicas={REPLICAS}") as name:
        yield lambda context, *options: ours.build(ground, context, "--builder", name, *options)


@contextmanager
def _theirs(ground: Ground) -> Iterator[Build]:
    """Builds on a builder of buildx's kubernetes driver."""
    with peer.prepared(ground) as buildx:
        name = "commits"
        try:
            buildx.create(name, replicas=REPLICAS)
            yield lambda context, *options: buildx.build(name, context, *options)
        finally:
            buildx.remove(name)


def table(found: Sequence[Commits]) -> list[str]:
    """The figures for people."""
    return [
        f"{one.who}: {one.commits} commits on {one.pods} of {REPLICAS} pods, "
        f"median {statistics.median(one.seconds):.2f} s, longest {max(one.seconds):.2f} s"
        for one in found
    ]
