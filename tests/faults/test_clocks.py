"""A runner whose clock is ten minutes off, ahead or behind: its builds work, and nobody reaps too early or too late."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.identity import EXPIRY_MARGIN
from ci_buildx.builder.lifecycle import lease
from ci_buildx.kube.client import KubeClient
from devcluster.accounts import Account
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.faults.api_clock import epoch, expire_in, now
from tests.faults.victim import ENDLESS, Victim

OFFSET = 600
LIFETIME = 3600
SLACK = 120
"""Seconds that a busy machine may take between two looks at the same clock."""
SOURCE = Path(__file__).with_name("clock.c")


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes a process's clock wrong."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("offset", [OFFSET, -OFFSET], ids=["ahead", "behind"])
def test_a_clock_that_is_ten_minutes_off_harms_nobody(
    offset: int,
    clock: Path,
    product: Product,
    reaper_account: Account,
    context: Path,
    reference: str,
    builders: Builders,
    kube: KubeClient,
) -> None:
    wrong = product.with_env(LD_PRELOAD=str(clock), OFFSET=str(offset))
    (told,) = subprocess.run(["date", "+%s"], env=dict(wrong.env), capture_output=True, check=True).stdout.split()
    assert abs(int(told) - time.time() - offset) < SLACK, "the clock is wrong"
    victim = Victim(
        wrong, context, reference, "--lifetime", f"{LIFETIME}s", dockerfile=ENDLESS, platforms="linux/amd64"
    )
    try:
        victim.wait_until(lambda: re.search(r"said 1\n", victim.log) is not None)
        ((namespace),) = builders.namespaces()
        name = namespace["metadata"]["name"]
        left = epoch(namespace["metadata"]["annotations"][labels.EXPIRES]) - now(kube)
        assert LIFETIME + EXPIRY_MARGIN - SLACK <= left <= LIFETIME + EXPIRY_MARGIN
        sign = kube.get(f"{lease.GROUP}/namespaces/{name}/leases/buildkit-heartbeat")["spec"]["renewTime"]
        assert abs(epoch(sign) - now(kube)) < SLACK
        reaper = wrong.with_env(KUBECONFIG=str(reaper_account.kubeconfig))
        # By a clock that is ahead it would be over, by one that is behind it would not.
        expire_in(kube, name, offset / 2)
        assert (name in expired(reaper)) == (offset < 0)
        victim.process.send_signal(signal.SIGINT)
        assert victim.end() == 130, victim.log
    finally:
        victim.process.kill()
        victim.end()
    assert builders.left() == []


def expired(reaper: Product) -> set[str]:
    """What the reaper would remove."""
    run = reaper.run("reap", "--dry-run")
    assert run.code == 0, run.stderr
    return {line.split()[1] for line in run.stdout.decode().splitlines()}
