"""A signal at any moment: pods gone within two seconds, the namespace deleted. After kill -9 the cluster ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from tests.accounts import Account
from tests.e2e.cluster import OURS, Builders
from tests.e2e.product import Product
from tests.faults.victim import MOMENTS, Moment, Victim

GONE_WITHIN = 2.0
"""Seconds from the end of the job to the end of its last pod: what issue 3 promises."""
LIFETIME = 20
MAY_LEAVE_NOTHING = {"announced", "pushing", "merging", "removing"}
"""Moments so early that the namespace is not there yet, or so late that it may be gone before the kill arrives."""
AT_ONCE = 3
"""Builds that run beside each other: more would be too slow to reach their moments in their lifetime."""


class PodLog:
    """When the API server told of each pod of a repository, and when of its end (time.monotonic)."""

    def __init__(self, kube: KubeClient, repository: str) -> None:
        self.seen: set[str] = set()
        self.gone: dict[str, float] = {}
        mark = sha256(repository.encode()).hexdigest()[:8]
        self._events = kube.watch(
            "/api/v1/pods",
            deadline=time.monotonic() + 120,
            labelSelector=f"{OURS},{labels.REPOSITORY_HASH}={mark}",
        )
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for event in self._events:
            name = event.object["metadata"]["name"]
            self.seen.add(name)
            if event.type == "DELETED":
                self.gone[name] = time.monotonic()

    def last_end(self, seconds: float) -> float:
        """When the last pod went; waits up to ``seconds`` for it."""
        deadline = time.monotonic() + seconds
        while self.seen - self.gone.keys() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.seen <= self.gone.keys(), f"pods stay: {self.seen - self.gone.keys()}"
        return max(self.gone.values(), default=0.0)


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
    victim = Victim(product, context, reference)
    moment.await_in(victim, builders)
    victim.process.send_signal(number)
    code = victim.end()
    ended = time.monotonic()
    left = builders.left()
    assert left == [], victim.log
    assert pods.last_end(GONE_WITHIN + 10) - ended <= GONE_WITHIN
    # What comes when the image is merged already finds a job that has succeeded and is being cleaned up.
    assert code == 128 + number or (moment.name in ("merging", "removing") and code == 0), victim.log
    assert "Traceback" not in victim.log
    if code:
        assert f"interrupted by {number.name}\n" in victim.log


def test_two_signals_do_not_keep_it_from_cleaning_up(
    product: Product, context: Path, reference: str, builders: Builders
) -> None:
    victim = Victim(product, context, reference)
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
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def module_product(place: Path, product_env: dict[str, str], buildkitd_config: Path) -> Product:
    return Product(cwd=place, env=product_env, config=buildkitd_config)


@pytest.fixture(scope="module")
def killed(module_product: Product, kube: KubeClient, place: Path) -> Iterator[list[Killed]]:
    """One build killed at each moment, a few at a time. Whatever is left at the end of the tests is removed."""

    def kill(moment: Moment) -> Killed:
        name = f"{place.name}-{moment.name}"
        builders = Builders(kube, name)
        reference = f"{module_product.env['REGISTRY']}/e2e/{name}:1"
        victim = Victim(module_product, place / name, reference, "--lifetime", f"{LIFETIME}s")
        try:
            moment.await_in(victim, builders)
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
        assert one.builders.wait_for_pods_to_go(LIFETIME + 30) == [], one.moment.name
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
        # The margin between the end of the compute and the expiry is a minute.
        deadline = time.monotonic() + 150
        while not left <= named(reaper, "--dry-run") and time.monotonic() < deadline:
            time.sleep(1)
        removed = named(reaper)
        assert left <= removed
        assert fresh.builder not in removed
        assert [name for one in killed for name in one.builders.left()] == []
        assert Builders(kube, context.name).left() == [fresh.builder]
    finally:
        assert module_product.run("rm", fresh.builder).code == 0


def named(product: Product, *options: str) -> set[str]:
    """The builders that `reap` names."""
    run = product.run("reap", *options)
    assert run.code == 0, run.stderr
    return {line.split()[1] for line in run.stdout.decode().splitlines()}
