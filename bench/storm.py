"""A pool whose pods are killed every few seconds under many concurrent builds."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from bench.faults import Outcome
from bench.lost_pods import Losses, find_daemon, list_ready_pods
from ci_buildx.builder import labels
from ci_buildx.errors import KubeError, NotFound

STORM = {"pods": 6, "builds": 30, "pause": 5.0, "retries": 10, "most": 5}
_LONGEST = 1800.0
"""Seconds after which a build counts as hung: it waits in the queue and loses many pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Builds under which pods were killed: how many failed, how many of those had a retry left, what was lost."""

    builds: int
    pods: int
    killed: int
    lost: int
    succeeded: int
    out_of_retries: int
    seconds: float
    faults: list[str]


def storm(losses: Losses, *, pods: int, builds: int, pause: float, retries: int, most: int, seed: int = 1) -> Storm:
    """Kill a pod every ``pause`` seconds, by turns its object and its daemon, while ``builds`` builds run at once."""
    drawn, over = random.Random(seed), threading.Event()
    killed: list[str] = []
    shape = f"replicas={pods},max-builds={most},grace-period=1"
    began = time.monotonic()
    with losses.lasting(shape) as builder:
        options = losses.on(builder, "--retries", str(retries), "--queue-timeout", "10m")
        killer = threading.Thread(target=lambda: _kill_pods(losses, builder, pause, drawn, over, killed))
        killer.start()
        try:
            with ThreadPoolExecutor(builds) as threads:
                keys = [f"{{target}}app{number % (2 * pods)}" for number in range(builds)]
                found = list(threads.map(lambda key: _weather(losses, (*options, "--sticky-key", key)), keys))
        finally:
            over.set()
            killer.join()
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{losses.namespace}/leases"
        items = losses.ground.kube.list(leases)["items"]
        left = [one["metadata"]["name"] for one in items if one["spec"].get("holderIdentity")]
    faults = [f"{outcome.name}: {fault}; {outcome.last_line}" for outcome, _ in found for fault in outcome.faults]
    out = sum(bool(outcome.exit_code) and "(no retry is left)" in log for outcome, log in found)
    return Storm(
        builds=builds,
        pods=pods,
        killed=len(killed),
        lost=sum(log.count("the build goes on in another pod") for _, log in found),
        succeeded=sum(outcome.exit_code == 0 for outcome, _ in found),
        out_of_retries=out,
        seconds=round(time.monotonic() - began, 1),
        faults=faults + [f"Lease {name} is left" for name in left],
    )


def _weather(losses: Losses, options: Sequence[str]) -> tuple[Outcome, str]:
    build = losses.build("storm", *options)
    build.longest = _LONGEST
    outcome = build.end("storm", "pods are killed", survives=False)
    if outcome.exit_code and "(no retry is left)" not in build.log:
        outcome.faults.append(f"it failed with a retry left: {build.log[-1500:]}")
    return outcome, build.log


def _kill_pods(
    losses: Losses, builder: str, pause: float, drawn: random.Random, over: threading.Event, killed: list[str]
) -> None:
    pods = f"/api/v1/namespaces/{losses.namespace}/pods"
    while not over.wait(pause):
        with suppress(KubeError, NotFound, ProcessLookupError):
            selector = f"{labels.BUILDER}={builder}"
            ready = list_ready_pods(losses.ground.kube, losses.namespace, labelSelector=selector)
            if not ready:
                continue
            victim = drawn.choice(ready)["metadata"]
            if drawn.random() < 0.5:
                losses.ground.kube.delete(f"{pods}/{victim['name']}", gracePeriodSeconds=0)
            else:
                os.kill(find_daemon(victim["uid"]), signal.SIGKILL)
            killed.append(victim["name"])
