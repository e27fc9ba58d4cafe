"""A sample of `python -m bench.faults`, drawn by a seed: FAULT_SEED=N does again what a run with that seed did.

What is done to builds, and when, comes from the seed. Each must come to its right end: no hang, no false success, no
false failure, no secret in a log, nothing left.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.faults import OFFSETS, SIGNALS, TRANSPORTS, Faults, Outcome
from bench.ground import Ground
from tests.faults.api_clock import expire_in
from tests.faults.victim import SETTLED_WITHIN

BRIEF = """FROM busybox
COPY blob /blob
RUN --mount=type=secret,id=fault test -s /run/secrets/fault && echo begun
RUN for i in $(seq 1 8); do echo tick $i; sleep 1; done
ARG MARK
ENV MARK=$MARK
"""
KILLS = 3
LIFETIME = 20
CUT = 5
UPLOAD = 40 << 20


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run, shown also where the output of tests is not."""
    found = int(os.environ.get("FAULT_SEED") or secrets.randbelow(1_000_000))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nFAULT_SEED={found}")
    return found


@pytest.fixture
def faults(
    seed: int,
    request: pytest.FixtureRequest,
    ground: Ground,
    tmp_path: Path,
) -> Faults:
    """The faults, on the ground of the tests; what is drawn does not depend on which tests run."""
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    drawn = random.Random(f"{seed} {request.node.name}")
    name = f"s{secrets.token_hex(2)}"
    return Faults(ground=ground, name=name, random=drawn, library=library, dockerfile=BRIEF, upload=UPLOAD)


def check(seed: int, outcomes: list[Outcome]) -> None:
    wrong = [f"{one.name}, {one.what}: {'; '.join(one.faults)}; {one.last_line}" for one in outcomes if one.faults]
    assert not wrong, "\n".join([*wrong, f"again by FAULT_SEED={seed}"])


def test_jobs_killed_at_random_moments(seed: int, faults: Faults) -> None:
    """One of them by kill -9, which leaves a builder to the cluster and the reaper."""
    numbers = [signal.SIGKILL, *faults.random.sample([one for one in SIGNALS if one != signal.SIGKILL], KILLS - 1)]
    moments = [faults.random.uniform(0.05, 6.0) for _ in numbers]
    with ThreadPoolExecutor(KILLS) as pool:
        outcomes = list(
            pool.map(lambda *one: faults.kill_one("kill", *one, lifetime=LIFETIME), numbers, moments),
        )
    check(seed, outcomes)
    deadline = time.monotonic() + LIFETIME + SETTLED_WITHIN
    while any(faults.soak.pods(one.name) for one in outcomes) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [one.what for one in outcomes if faults.soak.pods(one.name)] == []
    for namespace in faults.left([faults.name]):
        expire_in(faults.ground.kube, namespace, -1)
    told = faults.soak.reap()
    assert faults.left([faults.name]) == [], f"{told}\nagain by FAULT_SEED={seed}"


def test_a_short_cut_on_each_transport(seed: int, faults: Faults) -> None:
    outcomes = faults.cut("cut", CUT, faults.random.choice(["upload", "talking"]))
    assert len(outcomes) == len(TRANSPORTS)
    check(seed, outcomes)
    assert faults.left([faults.name]) == []


def test_a_registry_that_restarts(seed: int, faults: Faults) -> None:
    outcomes = faults.restart("restart", "registry-open", faults.random.choice(["upload", "talking"]))
    assert len(outcomes) == len(TRANSPORTS)
    check(seed, outcomes)
    assert faults.left([faults.name]) == []


def test_a_full_disk(seed: int, faults: Faults) -> None:
    do = faults.random.choice([faults.full_temp, faults.full_metadata, faults.full_volume])
    outcomes = do("full")
    assert outcomes
    check(seed, outcomes)
    assert faults.left([faults.name]) == []


def test_a_clock_that_is_hours_off(seed: int, faults: Faults) -> None:
    (outcome,) = faults.clock("clock", faults.random.choice(OFFSETS))
    check(seed, [outcome])
    assert faults.left([faults.name]) == []
