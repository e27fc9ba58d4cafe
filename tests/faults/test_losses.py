"""Builds that lose their pod for real, each in its own way, and go on: a round of `python -m bench.losses`."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import lost_pods
from bench import storm as bench_storm
from bench.failures import Failures
from bench.faults import Outcome
from bench.ground import Ground
from bench.lost_pods import Losses
from devcluster import layout
from devcluster.relay import relaying_kubeconfig
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.faults.registry import serving

STORM = {"pods": 2, "builds": 6, "pause": 3.0, "retries": 10, "most": 3}


@pytest.fixture
def losses(ground: Ground) -> Iterator[Losses]:
    """The losses, on the ground of the tests."""
    kubeconfig = Path(ground.env["KUBECONFIG"])
    with relaying_kubeconfig(kubeconfig, ground.folder) as relay, lost_pods.opened(ground, relay) as opened:
        yield opened


def show(outcomes: list[Outcome]) -> str:
    return "\n".join(f"{one.case}: {'; '.join(one.faults)}: {one.last_line}" for one in outcomes if one.faults)


def run_storm(losses: Losses) -> list[str]:
    """Kill pods of a pool under builds; return what must not be."""
    found = bench_storm.storm(losses, **STORM, seed=3)  # type: ignore[arg-type]
    faults = list(found.faults)
    if found.succeeded + found.out_of_retries != found.builds or not (found.killed and found.lost):
        faults.append(f"not what was to happen: {found}")
    return faults


def test_builds_go_on_after_every_loss_of_a_pod(losses: Losses) -> None:
    """All at the same time, since each has pods of its own; the cluster node that goes is one that no other uses."""
    table = losses.table() | losses.table_of_nodes() | Failures(losses=losses).table()
    with ThreadPoolExecutor(len(table) + 1) as threads:
        storm = threads.submit(run_storm, losses)
        outcomes = list(threads.map(lambda one: one[1](one[0]), table.items()))
        assert not storm.result(), "\n".join(storm.result())
    print(*(f"{one.case}: {one.seconds} s" for one in outcomes))
    assert {one.case for one in outcomes} == set(table)
    assert not show(outcomes), show(outcomes)


def test_a_pod_that_runs_out_of_memory_is_not_replaced(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN tail /dev/zero\n")
    limits = ("--driver-opt", '"limits.memory=192Mi"', "--driver-opt", "requests.memory=96Mi")
    run = product.build("--platform", "linux/amd64", "--retries", "3", *limits, str(context))
    assert run.code == 1
    assert "goes on in another pod" not in run.stderr
    assert "raise driver-opt limits.memory" in run.stderr
    assert builders.left() == []


def test_a_push_that_a_registry_fails_for_a_while_is_repeated(
    product: Product, context: Path, builders: Builders, tmp_path: Path
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo whole > /mark\n")
    with serving(str(layout.cluster().host_address)) as registry:
        config = tmp_path / "buildkitd.toml"
        shutil.copy(product.config, config)
        with config.open("a") as file:
            file.write(f'\n[registry."{registry.address}"]\nhttp = true\n')
        registry.failing = True
        options = ["--platform", "linux/amd64", "--push", "--tag", f"{registry.address}/late/app:1"]
        command = ["--buildkitd-config", str(config), *options, str(context)]
        process = product.popen(*command, own_builder=False)
        log: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: log.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
        reader.start()
        deadline = time.monotonic() + 120
        while "the build pushes again: " not in "".join(log) and time.monotonic() < deadline:
            assert process.poll() is None, "".join(log)
            time.sleep(0.05)
        registry.failing = False
        assert process.wait(timeout=120) == 0, "".join(log)
        reader.join()
        process.stdout.close()
        assert "late/app:1" in registry.manifests
    assert builders.left() == []
