"""A signal at any moment: pods gone within two seconds, the namespace deleted. After kill -9 the cluster ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from devcluster.accounts import Account
from tests.e2e.cluster import OURS, Builders
from tests.e2e.product import Product
from tests.faults.victim import DOCKERFILE, ENDLESS, MOMENTS, SETTLED_WITHIN, Moment, Victim

GONE_WITHIN = 2.0
"""Seconds from the end of the job to the end of its last pod: what issue 3 promises."""
LIFETIME = 30
MAY_LEAVE_NOTHING = {"announced", "pushing", "merging", "removing"}
"""Moments so early that the namespace is not there yet, or so late that it may be gone before the kill arrives."""
LATE = {"pushing", "merging", "removing"}
"""Moments after which a job may come to its end before a signal reaches it."""
AT_ONCE = 3
"""Builds that run beside each other: more would be too slow to reach their moments in their lifetime."""


class PodLog:
    """The end of each pod of a repository: the API server's revision, and when we heard of it (time.monotonic)."""

    def __init__(self, kube: KubeClient, repository: str) -> None:
        self.seen: set[str] = set()
        self.gone: dict[str, tuple[int, float]] = {}
        mark = sha256(repository.encode()).hexdigest()[:8]
        self._kube = kube
        self._events = kube.watch(
            "/api/v1/pods",
            deadline=time.monotonic() + 2 * SETTLED_WITHIN,
            labelSelector=f"{OURS},{labels.REPOSITORY_HASH}={mark}",
        )
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for event in self._events:
            metadata = event.object["metadata"]
            self.seen.add(metadata["name"])
            if event.type == "DELETED":
                self.gone[metadata["name"]] = int(metadata["resourceVersion"]), time.monotonic()

    def now(self) -> tuple[int, float]:
        """The API server's revision now, and the time."""
        listed = self._kube.get("/api/v1/namespaces", limit=1)
        return int(listed["metadata"]["resourceVersion"]), time.monotonic()

    def outlived(self, end: tuple[int, float]) -> float:
        """How many seconds the last pod was there after ``end``.

        What went before, by the order of the API server's revisions, did not: that does not depend on when we hear.
        """
        deadline = time.monotonic() + SETTLED_WITHIN
        while self.seen - self.gone.keys() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.seen <= self.gone.keys(), f"pods stay: {self.seen - self.gone.keys()}"
        return max((heard - end[1] for revision, heard in self.gone.values() if revision > end[0]), default=0.0)


def dockerfile(moment: Moment) -> str:
    """What is built: before its late moments a build stays in its step, so that none is missed."""
    return DOCKERFILE if moment.name in LATE else ENDLESS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS, ids=[moment.name for moment in MOMENTS])
def test_a_signal_at_any_moment(
    moment: Moment,
    number: signal.Signals,
    product: Product,
    context: Path,
    reference: str,
    builders: Builders,
) -> None:
    pods = PodLog(builders.kube, builders.repository)
    victim = Victim(product, context, reference, dockerfile=dockerfile(moment))
    moment.await_in(victim, builders)
    victim.process.send_signal(number)
    code = victim.end()
    end = pods.now()
    left = builders.left()
    assert left == [], victim.log
    assert pods.outlived(end) <= GONE_WITHIN
    # What comes late may find a job that has succeeded and is being cleaned up.
    assert code == 128 + number or (moment.name in LATE and code == 0), victim.log
    assert "Traceback" not in victim.log
    if code:
        assert f"interrupted by {number.name}\n" in victim.log


@pytest.fixture
def temporary() -> Iterator[tuple[Path, Path]]:
    """Folders for TMPDIR and XDG_RUNTIME_DIR, with paths short enough for sockets."""
    with TemporaryDirectory(prefix="kb-", dir="/tmp") as first, TemporaryDirectory(prefix="kb-", dir="/tmp") as second:
        yield Path(first), Path(second)


def list_files(folders: tuple[Path, ...]) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*")]


@pytest.mark.parametrize("moment", ["one-answers", "step-runs"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["SIGINT", "SIGHUP"])
@pytest.mark.parametrize("transport", ["direct", "port-forward", "exec"])
def test_a_signal_on_each_transport_leaves_no_file(
    transport: str,
    number: signal.Signals,
    moment: str,
    product: Product,
    context: Path,
    reference: str,
    builders: Builders,
    temporary: tuple[Path, Path],
) -> None:
    """A tunnel has a socket in a temporary folder."""
    product = product.with_env(TMPDIR=str(temporary[0]), XDG_RUNTIME_DIR=str(temporary[1]))
    victim = Victim(product, context, reference, "--transport", transport, dockerfile=ENDLESS)
    next(one for one in MOMENTS if one.name == moment).await_in(victim, builders)
    sockets = [path for path in list_files(temporary) if path.is_socket()]
    victim.process.send_signal(number)
    assert victim.end() == 128 + number, victim.log
    assert f"interrupted by {number.name}\n" in victim.log
    assert "Traceback" not in victim.log
    assert bool(sockets) is (transport != "direct")
    assert list_files(temporary) == []
    assert builders.left() == []


def test_what_a_killed_job_leaves_goes_with_a_later_one(
    product: Product, context: Path, reference: str, builders: Builders, temporary: tuple[Path, Path]
) -> None:
    product = product.with_env(TMPDIR=str(temporary[0]), XDG_RUNTIME_DIR=str(temporary[1]))
    options = ("--transport", "port-forward", "--lifetime", f"{LIFETIME}s")
    victim = Victim(product, context, reference, *options, dockerfile=ENDLESS)
    victim.wait_until(lambda: "said 1" in victim.log)
    victim.process.kill()
    victim.end()
    left = [path for folder in temporary for path in folder.iterdir()]
    assert left
    for path in left:
        os.utime(path, (0, 0))
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    assert product.build(str(context)).code == 0
    assert list_files(temporary) == []
    for name in builders.left():
        builders.kube.delete(f"/api/v1/namespaces/{name}")


def test_two_signals_do_not_keep_it_from_cleaning_up(
    product: Product, context: Path, reference: str, builders: Builders
) -> None:
    victim = Victim(product, context, reference, dockerfile=ENDLESS)
    victim.wait_until(lambda: "said 1" in victim.log)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        victim.process.send_signal(number)
    assert victim.end() == 130
    assert builders.left() == []


@dataclass(frozen=True)
class Killed:
    """A build that was killed at ``moment``, and the namespaces that it left."""

    moment: Moment
    builders: Builders
    namespaces: list[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the builds that are killed."""
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def module_product(place: Path, product_env: dict[str, str], buildkitd_config: Path) -> Product:
    """`kube-builder` in the folder of the builds that are killed."""
    return Product(cwd=place, env=product_env, config=buildkitd_config)


@pytest.fixture(scope="module")
def killed(module_product: Product, kube: KubeClient, place: Path) -> Iterator[list[Killed]]:
    """One build killed at each moment, a few at a time. Whatever is left at the end of the tests is removed."""

    def kill(moment: Moment, lifetime: int = LIFETIME) -> Killed:
        name = f"{place.name}-{moment.name}-{lifetime}"
        builders = Builders(kube, name)
        reference = f"{module_product.env['REGISTRY']}/e2e/{name}:1"
        options = ("--lifetime", f"{lifetime}s")
        victim = Victim(module_product, place / name, reference, *options, dockerfile=dockerfile(moment))
        try:
            moment.await_in(victim, builders)
        except AssertionError:
            # The machine is so busy that the job's lifetime was over first.
            if lifetime > LIFETIME or "DeadlineExceeded" not in victim.log:
                raise
            return kill(moment, 3 * lifetime)
        finally:
            victim.process.kill()
            victim.end()
        return Killed(moment, builders, builders.left())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(kill, MOMENTS))
    yield done
    for one in done:
        for name in one.builders.left():
            kube.delete(f"/api/v1/namespaces/{name}")


def test_after_a_kill_the_compute_ends_at_the_deadline(killed: list[Killed], kube: KubeClient) -> None:
    left = [name for one in killed for name in one.namespaces]
    assert {one.moment.name for one in killed if not one.namespaces} <= MAY_LEAVE_NOTHING
    # The Job controller looks at the deadline, the kubelet lets a pod end in its grace period.
    for one in killed:
        assert one.builders.wait_for_pods_to_go(3 * LIFETIME + SETTLED_WITHIN) == [], one.moment.name
    for name in left:
        jobs = kube.list(f"/apis/batch/v1/namespaces/{name}/jobs")["items"]
        reasons = {
            item["reason"] for job in jobs for item in job["status"].get("conditions", ()) if item["type"] == "Failed"
        }
        assert reasons <= {"DeadlineExceeded"}


def test_reap_removes_what_has_expired_and_nothing_else(
    killed: list[Killed], module_product: Product, reaper_account: Account, place: Path, kube: KubeClient
) -> None:
    context = place / f"{place.name}-fresh"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    fresh = module_product.build("--keep", str(context))
    assert fresh.code == 0, fresh.stderr
    left = {name for one in killed for name in one.namespaces}
    reaper = module_product.with_env(KUBECONFIG=str(reaper_account.kubeconfig))
    try:
        await_expiry(kube, left)
        # Somebody else's job may have swept before.
        there = {name for one in killed for name in one.builders.left()}
        removed = named(reaper)
        assert there <= removed
        assert fresh.builder not in removed
        assert [name for one in killed for name in one.builders.left()] == []
        assert Builders(kube, context.name).left() == [fresh.builder]
    finally:
        assert module_product.run("rm", fresh.builder).code == 0


def await_expiry(kube: KubeClient, namespaces: set[str]) -> None:
    """Wait until the last of them has expired by the API server's clock."""
    found = kube.list("/api/v1/namespaces", labelSelector=OURS)["items"]
    own = [item["metadata"] for item in found if item["metadata"]["name"] in namespaces]
    last = max((metadata["annotations"][labels.EXPIRES] for metadata in own), default="")
    while time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(kube.server_time)) <= last:
        time.sleep(1)
        kube.get("/version")


def named(product: Product, *options: str) -> set[str]:
    """The builders that `reap` names."""
    run = product.run("reap", *options)
    assert run.code == 0, run.stderr
    return {line.split()[1] for line in run.stdout.decode().splitlines()}
