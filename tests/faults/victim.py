"""A build that is about to be interrupted at a moment that can be observed: in its log or on the cluster."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.e2e.cluster import Builders
from tests.e2e.product import Product

DOCKERFILE = "FROM busybox\nRUN for i in 1 2 3; do echo said $i; sleep 0.2; done; uname -m > /machine\n"
ENDLESS = "FROM busybox\nRUN echo said 1; sleep 3600\n"
PATIENCE = 180
"""Seconds in which a build reaches every moment."""
SETTLED_WITHIN = 120.0
"""Seconds for what is bound to happen, on a machine that has much else to do."""


class Victim:
    """A running multi-arch build with push, and what it has written until now."""

    def __init__(
        self,
        product: Product,
        context: Path,
        reference: str,
        *options: str,
        dockerfile: str = DOCKERFILE,
        platforms: str = "linux/amd64,linux/arm64",
    ) -> None:
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile)
        arguments = ["--platform", platforms, "-t", reference, "--push", *options, str(context)]
        self.process: subprocess.Popen[str] = product.popen(*arguments)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, f"it ended before the moment came:\n{self.log}"
            if time.monotonic() > deadline:
                self._fail("the moment did not come")
            time.sleep(0.005)

    def end(self) -> int:
        """Wait for its end; the exit code, 128 + signal where one ended it."""
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._fail("it did not end")
        self._reader.join(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code if code >= 0 else 128 - code

    def _fail(self, why: str) -> NoReturn:
        """Kill the build, so that no later test meets it, and fail."""
        self.process.kill()
        self.process.wait()
        pytest.fail(f"{why}:\n{self.log}")

    @property
    def log(self) -> str:
        return "".join(list(self.lines))

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))


@dataclass(frozen=True)
class Moment:
    """A point in a job's life: a line of the log, or a fact about the builder on the cluster."""

    name: str
    line: str = ""
    fact: Callable[[Builders], bool] | None = None

    def await_in(self, victim: Victim, builders: Builders) -> None:
        if self.fact is not None:
            fact = self.fact
            victim.wait_until(lambda: fact(builders))
        elif self.line:
            pattern = re.compile(self.line)
            victim.wait_until(lambda: pattern.search(victim.log) is not None)


def has_namespace(builders: Builders) -> bool:
    return bool(builders.namespaces())


def has_pods(builders: Builders) -> bool:
    return bool(builders.pods())


def runs_a_pod(builders: Builders) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in builders.pods())


MOMENTS = (
    Moment("announced", line="creating builder"),
    Moment("namespace-exists", fact=has_namespace),
    Moment("pods-exist", fact=has_pods),
    Moment("pod-runs", fact=runs_a_pod),
    Moment("one-answers", line="answered over"),
    Moment("dockerfile-is-sent", line="load build definition"),
    Moment("step-runs", line="said 1"),
    Moment("pushing", line="exporting to image"),
    Moment("merging", line="merging index"),
    Moment("removing", line="removing builder"),
)
