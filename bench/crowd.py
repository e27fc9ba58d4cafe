"""Many concurrent jobs, of which some fail and some are cancelled: each must end as intended and leave nothing."""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from bench.ground import PLATFORM, Ground

BUILDS = "FROM busybox\nARG MARK\nRUN echo $MARK > /mark && sleep 1\n"
FAILS = f"{BUILDS}RUN echo almost && exit 7\n"
ENDLESS = f"{BUILDS}RUN echo begun && sleep 3600\n"
_LONGEST = 600.0


class Fate(StrEnum):
    """The intended end of a job."""

    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


_DOCKERFILES = {Fate.SUCCEED: BUILDS, Fate.FAIL: FAILS, Fate.CANCEL: ENDLESS}
_CODES = {Fate.SUCCEED: 0, Fate.FAIL: 1, Fate.CANCEL: 130}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One job and its end; ``mark`` is the content of its result."""

    name: str
    fate: Fate
    exit_code: int
    seconds: float
    mark: str
    last_line: str
    namespace_left: str

    @property
    def faults(self) -> list[str]:
        """Deviations from the intended result."""
        found = []
        if self.exit_code != _CODES[self.fate]:
            found.append(f"exit code {self.exit_code} of a job that was to {self.fate}: {self.last_line}")
        if self.fate is Fate.SUCCEED and self.mark != self.name:
            found.append(f"its result is {self.mark!r}")
        if self.fate is Fate.FAIL and "exit code: 7" not in self.last_line:
            found.append(f"its failure is not told: {self.last_line}")
        if self.fate is Fate.CANCEL and "interrupted by SIGINT" not in self.last_line:
            found.append(f"its cancellation is not told: {self.last_line}")
        if self.namespace_left:
            found.append(f"namespace {self.namespace_left} is left")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Jobs that are all started at once."""

    ground: Ground
    name: str

    def run(self, fates: Sequence[Fate]) -> list[Member]:
        """Run all jobs to their ends; return them in the order of ``fates``."""
        with ThreadPoolExecutor(max(len(fates), 1)) as pool:
            numbered = [f"{self.name}-{number:02}" for number in range(len(fates))]
            return list(pool.map(self.one, numbered, fates))

    def one(self, name: str, fate: Fate) -> Member:
        """Run one job."""
        context, target, log = (self.ground.folder / f"{name}{part}" for part in ("", "-out", ".log"))
        context.mkdir()
        (context / "Dockerfile").write_text(_DOCKERFILES[fate])
        options = ["--platform", PLATFORM, "--build-arg", f"MARK={name}", "-o", f"type=local,dest={target}"]
        own = ["--buildkitd-config", str(self.ground.buildkitd_config), "--driver-opt", "timeout=300s"]
        begun = time.monotonic()
        with log.open("w") as stream:
            process = subprocess.Popen(
                [str(self.ground.product), "build", *options, *own, str(context)],
                env=self.ground.env,
                stdout=stream,
                stderr=stream,
            )
            if fate is Fate.CANCEL:
                _await_line(log, " begun", process)
                process.send_signal(signal.SIGINT)
            code = process.wait(_LONGEST)
        seconds = round(time.monotonic() - begun, 3)
        mark = (target / "mark").read_text().strip() if (target / "mark").exists() else ""
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return Member(
            name=name,
            fate=fate,
            exit_code=code,
            seconds=seconds,
            mark=mark,
            last_line=next((line for line in reversed(lines) if "ERROR" in line or "interrupted" in line), ""),
            namespace_left=self.left(name),
        )

    def left(self, name: str) -> str:
        """Return the name of a job's namespace that is not being deleted, or ""."""
        found = self.ground.kube.list("/api/v1/namespaces", labelSelector="app.kubernetes.io/managed-by=kube-builder")
        return next(
            (
                str(each["metadata"]["name"])
                for each in found["items"]
                if f"-{name}-" in each["metadata"]["name"] and not each["metadata"].get("deletionTimestamp")
            ),
            "",
        )


def mixed(succeed: int, fail: int, cancel: int) -> list[Fate]:
    """Return that many fates of each kind, in an order that depends only on the numbers."""
    fates = [Fate.SUCCEED] * succeed + [Fate.FAIL] * fail + [Fate.CANCEL] * cancel
    Random(len(fates)).shuffle(fates)
    return fates


def name() -> str:
    """Return a unique name for a crowd."""
    return f"crowd-{secrets.token_hex(2)}"


def _await_line(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the log has a line that ends with ``text``: the output of a step, not its name."""
    while process.poll() is None and not any(line.endswith(text) for line in log.read_text().splitlines()):
        time.sleep(0.1)
