"""A busy machine: no tunnel carries a build of a pod that is reached directly, though tunnels need less to win."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cluster import Builders
from tests.e2e.product import Product

OWN, KEPT = 2, 2
ANSWER = re.compile(r"pod \S+ on node \S+ answered over (\S+) after")
BURN = "while True: pass"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Two processes for each CPU that do nothing but take time."""
    burners = [subprocess.Popen([sys.executable, "-Ic", BURN]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.wait()


def test_pods_that_are_reached_directly_are_used_directly(product: Product, context: Path, builders: Builders) -> None:
    """Builders that boot, and one that is up, all at once."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    kept = product.build("--keep", "--platform", "linux/amd64", "-o", "kept", str(context))
    assert kept.code == 0, kept.stderr

    def build(number: int) -> list[str]:
        own = number < OWN
        options = ("--platform", "linux/amd64") if own else ("--builder", kept.builder)
        run = product.build(*options, "-o", f"out-{number}", str(context), own_builder=own)
        assert run.code == 0, run.stderr
        return ANSWER.findall(run.stderr)

    with busy_machine(), ThreadPoolExecutor(OWN + KEPT) as pool:
        ways = list(pool.map(build, range(OWN + KEPT)))
    assert ways == [["direct"]] * (OWN + KEPT)
    assert product.run("rm", kept.builder).code == 0
    assert builders.left() == []
