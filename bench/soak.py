"""`python -m bench.soak`: leftovers of jobs that are killed or cancelled at random moments; and a crowd of jobs.

After SIGINT and SIGTERM nothing may be left; after SIGKILL the cluster itself must end the pods at the deadline, and
`kube-builder reap` must delete the rest. The moments come from a seed. The crowd is twenty jobs at once, of which five
fail and three are cancelled: each must end as intended.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import crowd, ground, machine
from bench.crowd import Crowd, Member
from bench.ground import PLATFORM, Ground
from ci_buildx.builder.identity import EXPIRY_MARGIN
from devcluster import accounts, host, layout

RESULTS = Path(__file__).parent / "results"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LIFETIME = 45
MOMENTS = (0.05, 8.0)
"""Range of seconds after its start when a job is ended: from before its first request to after its end."""
CROWD = {"succeed": 12, "fail": 5, "cancel": 3}

_PODS_GONE = 2.0
_DEADLINE_SLACK = 15.0
"""Seconds for the Job controller and the kubelet to end a pod after its deadline."""
_LONGEST_END = 40.0


@dataclass(slots=True, kw_only=True)
class Ended:
    """One job and its leftovers: right after its end, after its deadline, and after the reaper."""

    name: str
    signal: str
    moment: float
    exit_code: int
    seconds_to_exit: float
    pods_after_exit: int
    namespace_after_exit: str
    pods_after_deadline: int = 0
    namespace_after_reap: str = ""

    @property
    def faults(self) -> list[str]:
        """Leftovers that must not exist. A namespace that is being deleted is allowed: the cluster finishes that."""
        found = []
        if self.signal != "SIGKILL":
            if self.pods_after_exit:
                found.append(f"{self.pods_after_exit} pods {_PODS_GONE:.0f} s after {self.signal}")
            if self.namespace_after_exit == "active":
                found.append(f"namespace not deleted after {self.signal}")
        if self.pods_after_deadline:
            found.append(f"{self.pods_after_deadline} pods after the deadline")
        if self.namespace_after_reap:
            found.append(f"namespace {self.namespace_after_reap} after reap")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """One run; its name is part of its jobs' contexts and therefore of their namespaces."""

    ground: Ground
    name: str
    random: random.Random

    def end_one(self, number: int, number_of_signal: signal.Signals, moment: float) -> Ended:
        """Start a job, end it ``moment`` seconds later and record its leftovers."""
        name = f"{self.name}-{number:03}"
        process = subprocess.Popen(
            self.command(name), env=self.ground.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moment)
        process.send_signal(number_of_signal)
        sent = time.monotonic()
        exit_code = process.wait(_LONGEST_END)
        seconds = time.monotonic() - sent
        time.sleep(_PODS_GONE)
        return Ended(
            name=name,
            signal=number_of_signal.name,
            moment=round(moment, 3),
            exit_code=exit_code,
            seconds_to_exit=round(seconds, 3),
            pods_after_exit=self.pods(name),
            namespace_after_exit=self.namespace(name),
        )

    def command(self, name: str) -> list[str]:
        """Return the job's command: a new build of the example with a short lifetime."""
        options = [
            "--platform",
            PLATFORM,
            "--push",
            "--tag",
            self.ground.reference("soak"),
            "--lifetime",
            f"{LIFETIME}s",
        ]
        own = ["--buildkitd-config", str(self.ground.buildkitd_config), "--build-arg", f"GREETING={name}"]
        return [str(self.ground.product), "build", *options, *own, str(self.ground.example(name))]

    def pods(self, name: str) -> int:
        """Return the number of a job's pods that are pending or running."""
        found = self.ground.kube.list("/api/v1/pods", labelSelector="app.kubernetes.io/managed-by=kube-builder")
        return sum(
            f"-{name}-" in pod["metadata"]["namespace"] and pod["status"].get("phase") in ("Pending", "Running")
            for pod in found["items"]
        )

    def namespace(self, name: str) -> str:
        """Return ``active``, ``terminating``, or "" if a job's namespace no longer exists."""
        found = self.ground.kube.list("/api/v1/namespaces", labelSelector="app.kubernetes.io/managed-by=kube-builder")
        for namespace in found["items"]:
            if f"-{name}-" in namespace["metadata"]["name"]:
                return "terminating" if namespace["metadata"].get("deletionTimestamp") else "active"
        return ""

    def reap(self) -> str:
        """Run the reaper with the rights of docs/rbac/reaper.yaml; return its output."""
        account = accounts.reaper(self.ground.kube, self.ground.account.cluster, self.ground.folder)
        env = {**self.ground.env, "KUBECONFIG": str(account.kubeconfig)}
        command = [str(self.ground.product), "reap"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


def run(soak: Soak, *, killed: int, cancelled: int, at_once: int) -> list[Ended]:
    """Run all jobs, a few at a time, wait for the last deadline and expiry, and run the reaper."""
    signals = [signal.SIGKILL] * killed + [SIGNALS[number % len(SIGNALS)] for number in range(cancelled)]
    soak.random.shuffle(signals)
    moments = [soak.random.uniform(*MOMENTS) for _ in signals]

    def end(number: int) -> Ended:
        ended = soak.end_one(number, signals[number], moments[number])
        print(f"{ended.name} {ended.signal} after {ended.moment:.2f} s: exit {ended.exit_code}", file=sys.stderr)
        return ended

    with ThreadPoolExecutor(at_once) as pool:
        jobs = list(pool.map(end, range(len(signals))))
    last = time.monotonic()
    settle(lambda: not any(soak.pods(job.name) for job in jobs), last + LIFETIME + _DEADLINE_SLACK)
    for job in jobs:
        job.pods_after_deadline = soak.pods(job.name)
    time.sleep(max(0.0, last + LIFETIME + EXPIRY_MARGIN + 1 - time.monotonic()))
    print(soak.reap(), end="", file=sys.stderr)
    settle(lambda: not any(soak.namespace(job.name) for job in jobs), time.monotonic() + _LONGEST_END)
    for job in jobs:
        job.namespace_after_reap = soak.namespace(job.name)
    return jobs


def settle(reached: Callable[[], bool], deadline: float) -> None:
    """Wait for a state until ``deadline`` (a time.monotonic() value); the caller checks whether it was reached."""
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.5)


def document(facts: dict[str, Any], seed: int, jobs: Iterable[Ended], members: Iterable[Member]) -> dict[str, Any]:
    """Return all results for JSON."""
    found = [{**asdict(job), "faults": job.faults} for job in jobs]
    together = [{**asdict(member), "faults": member.faults} for member in members]
    return {"machine": facts, "seed": seed, "lifetime": LIFETIME, "jobs": found, "crowd": together}


def main() -> int:
    """Run the soak; return 1 if any job left forbidden objects or did not end as intended."""
    arguments = parser().parse_args()
    host.become_root()
    with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
        members = Crowd(ground=prepared, name=crowd.name()).run(crowd.mixed(**CROWD) if arguments.crowd else [])
        soak = Soak(ground=prepared, name=f"soak-{secrets.token_hex(2)}", random=random.Random(arguments.seed))
        jobs = run(soak, killed=arguments.killed, cancelled=arguments.cancelled, at_once=arguments.at_once)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    told = document(machine.facts(), arguments.seed, jobs, members)
    arguments.json.write_text(json.dumps(told, indent=1) + "\n")
    everyone: list[Ended | Member] = [*members, *jobs]
    for each in everyone:
        for fault in each.faults:
            print(f"{each.name}: {fault}")
    print(f"{sum(not each.faults for each in members)} of {len(members)} jobs at once came to their own end")
    print(f"{sum(not job.faults for job in jobs)} of {len(jobs)} ended jobs left nothing; written to {arguments.json}")
    return int(any(each.faults for each in everyone))


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    made.add_argument("--killed", type=int, default=100, metavar="N", help="jobs that are killed with -9")
    made.add_argument("--cancelled", type=int, default=20, metavar="N", help="jobs that get SIGINT or SIGTERM")
    made.add_argument("--at-once", type=int, default=4, metavar="N", help="how many of them are under way")
    made.add_argument("--no-crowd", dest="crowd", action="store_false", help="leave the jobs at once out")
    made.add_argument("--seed", type=int, default=3, metavar="N")
    made.add_argument("--cluster", default="dev", metavar="NAME", help="the devcluster to use (default: dev)")
    file = RESULTS / f"soak-{time.strftime('%Y-%m-%d')}.json"
    made.add_argument("--json", type=Path, default=file, metavar="FILE")
    return made


if __name__ == "__main__":
    sys.exit(main())
