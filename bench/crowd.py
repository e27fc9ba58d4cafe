"""Many jobs at once; some fail, some are cancelled: each comes to its own end, and leaves nothing."""

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
    """What is meant to become of a job."""

    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


_DOCKERFILES = {Fate.SUCCEED: BUILDS, Fate.FAIL: FAILS, Fate.CANCEL: ENDLESS}
_CODES = {Fate.SUCCEED: 0, Fate.FAIL: 1, Fate.CANCEL: 130}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One job and what became of it; ``mark`` is what its result holds."""

    name: str
    fate: Fate
    exit_code: int
    seconds: float
    mark: str
    last_line: str
    namespace_left: str

    @property
    def faults(self) -> list[str]:
        """What is not its own result."""
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
    """All of them are started at once."""

    ground: Ground
    name: str

    def run(self, fates: Sequence[Fate]) -> list[Member]:
        """Every job to its end, in the order of ``fates``."""
        with ThreadPoolExecutor(max(len(fates), 1)) as pool:
            numbered = [f"{self.name}-{number:02}" for number in range(len(fates))]
            return list(pool.map(self.one, numbered, fates))

    def one(self, name: str, fate: Fate) -> Member:
        """One job."""
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
        """The name of a job's namespace that nobody has deleted, "" if there is none."""
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
    """So many of each, in an order that is always the same."""
    fates = [Fate.SUCCEED] * succeed + [Fate.FAIL] * fail + [Fate.CANCEL] * cancel
    Random(len(fates)).shuffle(fates)
    return fates


def name() -> str:
    """A name that no other crowd has."""
    return f"crowd-{secrets.token_hex(2)}"


def _await_line(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Until the log has a line that ends with ``text``: what a step says, not what it is called."""
    while process.poll() is None and not any(line.endswith(text) for line in log.read_text().splitlines()):
        time.sleep(0.1)
