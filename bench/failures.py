"""Failures that another pod would not fix: a build is not retried, and its error names what helps.

Each build has retries left. A registry that fails is the devcluster's, behind a relay that answers for it with 503.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from bench.faults import Build, Outcome
from bench.lost_pods import AT_WORK, Losses
from devcluster.relay import Relay, relaying

RETRIES = ("--retries", "3")
PUSHES_AGAIN = "the build pushes again: "
CACHED = "the same command only pushes again"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""Answer of a proxy whose registry is away."""
_BEGUN = re.compile(r"^#\d+ [\d.]+ tick 2$", re.M)
"""The step's output while it runs: an error repeats it, in another form."""
_STEP = "FROM busybox\nCOPY blob /blob\nRUN echo tick 2; {}\nARG MARK\nENV MARK=$MARK\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The failures by name, which all can happen at the same time."""

    losses: Losses

    def table(self) -> dict[str, Callable[[str], Outcome]]:
        """Return all failures by name."""
        return {
            "out-of-memory": self.exhaust_memory,
            "disk-limit": self.exceed_disk,
            "lifetime": self.outlive,
            "step-fails": lambda case: self.fail_step(case, "exit 7", "exit code: 7"),
            "step-is-killed": lambda case: self.fail_step(case, "sh -c 'kill -9 $$'; exit $?", "exit code: 137"),
            "push-repeated": self.repeat_push,
            "push-fails": self.fail_push,
        }

    def end(self, build: Build, case: str, what: str, told: str) -> Outcome:
        """Wait for the end of a build that must fail once, for the reason ``told``."""
        outcome = build.end(case, what, survives=False)
        outcome.faults += judge_failure(outcome.exit_code, build.log, told)
        if outcome.faults:
            outcome.last_line += f" || {build.log[-1500:]}"
        return outcome

    def exhaust_memory(self, case: str) -> Outcome:
        """Let a step use more memory than the pod may."""
        limits = ("--driver-opt", "limits.memory=192Mi,requests.memory=96Mi")
        build = self.losses.build(case, *RETRIES, *limits, dockerfile=_STEP.format("tail /dev/zero"))
        return self.end(build, case, "it runs out of memory", "raise driver-opt limits.memory")

    def exceed_disk(self, case: str) -> Outcome:
        """Let a step write more than the pod may."""
        limits = ("--driver-opt", "limits.ephemeral-storage=64Mi")
        written = "dd if=/dev/zero of=/big bs=1M count=200; sleep 300"
        build = self.losses.build(case, *RETRIES, *limits, dockerfile=_STEP.format(written))
        return self.end(
            build, case, "its pod exceeds its own limit of disk", "raise driver-opt limits.ephemeral-storage"
        )

    def outlive(self, case: str) -> Outcome:
        """Let the lifetime of the builder end in the middle."""
        build = self.losses.build(case, *RETRIES, "--lifetime", "45s", dockerfile=_STEP.format("sleep 300"))
        return self.end(build, case, "its builder's lifetime ends", "set a longer lifetime")

    def fail_step(self, case: str, command: str, told: str) -> Outcome:
        """Let a step fail by itself."""
        build = self.losses.build(case, *RETRIES, dockerfile=_STEP.format(command))
        return self.end(build, case, f"a step fails: {command}", told)

    @contextmanager
    def failing_registry(self) -> Iterator[tuple[Losses, Relay]]:
        """Provide the same losses with a registry behind a relay."""
        base = self.losses.ground
        target = urlsplit(f"//{base.registry}")
        assert target.hostname
        assert target.port
        with relaying(target.hostname, target.port, at=str(base.cluster.host_address)) as relay:
            address = f"{base.cluster.host_address}:{relay.port}"
            config = base.folder / f"registry-{relay.port}.toml"
            config.write_text(f'{base.buildkitd_config.read_text()}\n[registry."{address}"]\nhttp = true\n')
            yield replace(self.losses, ground=replace(base, registry=address, buildkitd_config=config)), relay

    def repeat_push(self, case: str) -> Outcome:
        """Let a registry fail the first push of a build; the second succeeds."""
        with self.failing_registry() as (losses, relay):
            build = losses.build(case)
            fail_pushes(build, relay)
            build.reach(PUSHES_AGAIN)
            relay.answer = b""
            outcome = build.end(case, "a registry fails a push for a while")
            if PUSHES_AGAIN not in build.log:
                outcome.faults.append("it does not tell that it pushes again")
            return outcome

    def fail_push(self, case: str) -> Outcome:
        """Let a registry fail all pushes of a build; when it is back, the same command only pushes."""
        with self.failing_registry() as (losses, relay), losses.lasting("replicas=1") as builder:
            build = losses.build(case, *losses.on(builder))
            fail_pushes(build, relay)
            failed = self.end(build, case, "a registry fails every push", CACHED)
            if build.log.count(PUSHES_AGAIN) != 1:
                failed.faults.append("it has not pushed twice")
            relay.answer = b""
            build.start()
            outcome = build.end(case, f"{failed.what}, then takes it")
            if re.search(AT_WORK, build.log):
                outcome.faults.append("the same command has run a step again")
            outcome.faults += failed.faults
            outcome.seconds = round(outcome.seconds + failed.seconds, 1)
            outcome.last_line = f"{failed.last_line} || {outcome.last_line}"
            return outcome


def fail_pushes(build: Build, relay: Relay) -> None:
    """Let the registry fail as soon as a build is in the middle of a step."""
    build.reach(AT_WORK)
    relay.answer = UNAVAILABLE
    relay.cut()


def judge_failure(code: int, log: str, told: str) -> Iterator[str]:
    """Yield the errors of a build that had to fail without a retry, and to say ``told``."""
    if code != 1:
        yield f"exit code {code} of a build that was to fail"
    if not any(told in error for error in re.findall(r"^ERROR: .*", log, re.M)):
        yield f"its error does not tell: {told}"
    if "goes on in another pod" in log or "begins again in pod" in log:
        yield "it was retried in another pod"
    if (times := len(_BEGUN.findall(log))) != 1:
        yield f"its step has begun {times} times"
