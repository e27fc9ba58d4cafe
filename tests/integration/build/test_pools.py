"""Builds that share pods on a real API server: slots, the queue, and builds that end in every way."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from bench import pool
from bench.pool import Build, Racer
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.placement import compute_bound
from ci_buildx.builder.pool.pool import PodPool
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import LoadBalance
from devcluster.accounts import Account
from tests.integration.build.lasting import Shop, eventually, list_holders

CHOSEN = re.compile(r"pod (\S+), one of \d ready, is chosen ")
QUICK = "FROM busybox\nARG MARK\nRUN echo $MARK > /mark\n"
ENDLESS = "FROM busybox\nARG MARK\nRUN echo $MARK begun && sleep 3600\n"


def test_a_burst_is_spread_within_the_bound(kube: KubeClient, job_account: Account) -> None:
    """A third of the burst of `bench.pools`, by the product's functions and its account's rights."""
    keys = pool.make_zipf_keys(8, 12, seed=1)
    builds = [Build(number=number, key=key, lasts=4.0) for number, key in enumerate(keys)]
    with pool.opened(kube, job_account, 4) as four:
        runs = pool.run_builds(four, builds, seed=1)
        loads = Counter(run.pod for run in runs)
        assert [run.error for run in runs] == [""] * 12
        assert max(loads.values()) <= compute_bound(12, 4)
        assert len(loads) == 4
        assert four.leases() == []


def test_a_queue_loses_no_build_and_never_exceeds_the_bound(kube: KubeClient, job_account: Account) -> None:
    random = Random(2)
    builds = [Build(number=number, key=f"app{number % 5}", lasts=random.uniform(0.2, 1.0)) for number in range(16)]
    with pool.opened(kube, job_account, 2) as two:
        runs = pool.run_builds(two, builds, most=2, seed=2)
        assert [run.error for run in runs] == [""] * 16
        assert max(pool.count_peaks(runs).values()) == 2
        assert sum(run.queued for run in runs) >= 12
        assert two.leases() == []


def test_one_build_wins_each_race_for_the_last_slot(kube: KubeClient, job_account: Account) -> None:
    """Forty of the thousand races of `bench.pools`."""
    with pool.opened(kube, job_account, 1) as single, ExitStack() as undo:
        clients = [undo.enter_context(single.connect()) for _ in range(3)]
        before = LeaseKeeper(clients[0], "before")
        request = single.request("team/app", policy=LoadBalance.STICKY, most=2)
        assert PodPool(clients[0], before, request).try_at_once()
        racers = [Racer(pool=single, kube=client) for client in clients]
        won = Counter(pool.race_for_last_slot(racers, seed, most=2) for seed in range(40))
        before.close()
        assert won == {1: 40}
        assert single.leases() == []


def start(shop: Shop, context: Path, mark: str, *options: str) -> subprocess.Popen[str]:
    wanted = ["--builder", "one", "--build-arg", f"MARK={mark}", *options, str(context)]
    return shop.product.popen(*wanted, own_builder=False)


def read_until(build: subprocess.Popen[str], text: str) -> str:
    """Read a build's output up to the line of a step, not its name."""
    assert build.stdout is not None
    read = ""
    for line in build.stdout:
        read += line
        if line.rstrip().endswith(text):
            return read
    raise AssertionError(read)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """The context of a build that does not end."""
    folder = tmp_path / "endless"
    folder.mkdir()
    (folder / "Dockerfile").write_text(ENDLESS)
    return folder


def test_a_waiting_build_gets_the_slot_of_one_that_is_cancelled_or_killed(
    shop: Shop, context: Path, endless: Path
) -> None:
    (context / "Dockerfile").write_text(QUICK)
    made = shop.create("--name", "one", "--bootstrap", "--max-builds", "1")
    assert made.code == 0, made.stderr
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with start(shop, endless, f"first-{sent.name}") as running:
                read_until(running, "begun")
                with start(shop, context, sent.name) as waiting:
                    eventually("a ticket", lambda: len(list_holders(shop, "ticket")) == 1)
                    running.send_signal(sent)
                    shown, _ = waiting.communicate(timeout=150)
                    assert waiting.returncode == 0, shown
            assert "waiting for a slot: place 1 of 1 in the queue; all 1 slots are taken by 1 builds" in shown
            assert re.search(r"got a slot after \d+ s in the queue", shown)
            eventually("that all is given up", lambda: not list_holders(shop, "ticket") + list_holders(shop, "slot"))
        refused = shop.product.run("build", "--builder", "one", "--queue-timeout", "soon", str(context))
        assert refused.code == 2
        assert "--queue-timeout: 'soon' is not a duration" in refused.stderr
    finally:
        assert shop.product.run("rm", "one").code == 0


def test_a_cancelled_build_leaves_the_queue_and_one_that_may_not_wait_fails(
    shop: Shop, context: Path, endless: Path
) -> None:
    (context / "Dockerfile").write_text(QUICK)
    made = shop.create("--name", "one", "--bootstrap", "--driver-opt", "max-builds=1")
    assert made.code == 0, made.stderr
    try:
        with start(shop, endless, "first") as running:
            read_until(running, "begun")
            with start(shop, context, "second") as waiting:
                eventually("a ticket", lambda: len(list_holders(shop, "ticket")) == 1)
                hasty = shop.product.build("--builder", "one", "--queue-timeout", "0", str(context), own_builder=False)
                assert hasty.code == 1
                assert "builder 'one' has no free slot: all 1 slots are taken by 1 builds" in hasty.stderr
                short = shop.product.build("--builder", "one", "--queue-timeout", "1s", str(context), own_builder=False)
                assert short.code == 1
                assert "the build has waited for 1 s and is number 2 in the queue" in short.stderr
                waiting.send_signal(signal.SIGINT)
                waiting.communicate(timeout=60)
                assert waiting.returncode == 130
            eventually("that the queue is empty", lambda: list_holders(shop, "ticket") == [])
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=60)
        eventually("that the slot is free", lambda: list_holders(shop, "slot") == [])
    finally:
        assert shop.product.run("rm", "one").code == 0


def test_a_pool_grows_while_builds_wait_and_shrinks_around_the_one_that_builds(
    shop: Shop, context: Path, endless: Path
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nARG MARK\nRUN echo $MARK > /mark && sleep 10\n")
    deployment = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/one0"
    shape = "replicas=1..3,max-builds=1,idle-timeout=2s"
    made = shop.create("--name", "one", "--bootstrap", "--driver-opt", shape)
    assert made.code == 0, made.stderr
    try:
        builds = [start(shop, context, f"build-{number}") for number in range(4)]
        shown = [build.communicate(timeout=200)[0] for build in builds]
        assert [build.returncode for build in builds] == [0] * 4, shown
        assert "adding " in "".join(shown)
        assert len({CHOSEN.findall(text)[-1] for text in shown}) == 3
        assert shop.kube.get(deployment)["spec"]["replicas"] == 3
        with start(shop, endless, "busy") as busy:
            try:
                building = CHOSEN.findall(read_until(busy, "begun"))[-1]
                # The build itself may have removed a pod that was idle when it began.
                eventually("that the others are gone", lambda: reap(shop) >= 0 and shop.pods("one") == [building])
                assert shop.kube.get(deployment)["spec"]["replicas"] == 1
                assert reap(shop, "--dry-run") == 0
            finally:
                busy.send_signal(signal.SIGTERM)
            busy.communicate(timeout=60)
        assert busy.returncode == 143
    finally:
        assert shop.product.run("rm", "one").code == 0
    eventually("that no Lease is left", lambda: not list_holders(shop, "slot") + list_holders(shop, "ticket"))


def reap(shop: Shop, *options: str) -> int:
    """Run the reaper with the rights of one namespace; return the number of idle pods that it names."""
    run = shop.product.run("reap", *options, shop.namespace)
    assert run.code == 0, run.stderr
    return run.stdout.decode().count(" pod one0-")
