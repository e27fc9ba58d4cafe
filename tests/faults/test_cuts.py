"""Networks that drop every packet for a while, and API servers that restart: the build goes on, on each transport."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import layout, outage
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.faults.victim import Victim

CUT = 60.0
"""Seconds that each transport must outlast: three times grpcio's 20 for a connection without an answer."""
TALKS = "FROM busybox\nRUN for i in $(seq 1 30); do echo tick $i; sleep 1; done; echo whole > /mark\n"
TRANSPORTS = ("direct", "port-forward", "exec")


@pytest.fixture
def victims(product: Product, context: Path, reference: str) -> Iterator[list[Victim]]:
    """One build by each transport, all in a step that writes a line each second."""
    context.mkdir(exist_ok=True)
    made = []
    for number, transport in enumerate(TRANSPORTS):
        folder = context / transport
        folder.mkdir()
        options = ("--transport", transport, "--no-cache")
        made.append(
            Victim(product, folder, f"{reference}-{number}", *options, dockerfile=TALKS, platforms="linux/amd64")
        )
    try:
        yield made
    finally:
        for victim in made:
            victim.process.kill()
            victim.end()


def at_work(victims: list[Victim]) -> None:
    for victim in victims:
        victim.wait_until(lambda: re.search(r"tick 2\n", victim.log) is not None)  # noqa: B023


def codes(victims: list[Victim]) -> list[int]:
    """The exit codes; TCP may send again only as long after a cut as the cut was."""
    deadline = time.monotonic() + 150
    while any(one.process.poll() is None for one in victims) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [one.end() for one in victims]


def test_a_cut_is_outlasted_and_reported(victims: list[Victim], builders: Builders) -> None:
    at_work(victims)
    outage.cut_for(layout.cluster(layout.default_name()), CUT)
    assert codes(victims) == [0, 0, 0], "\n".join(one.log for one in victims)
    for victim in victims:
        assert re.search(r"no response from pod \S+ for 1\d s; waiting", victim.log), victim.log
        assert re.search(r"pod \S+ responds again after \d+ s", victim.log), victim.log
        assert "reconnecting" not in victim.log, "the same connection goes on"
    assert builders.left() == []


def test_a_tunnel_that_breaks_is_replaced_and_the_build_repeated(victims: list[Victim], builders: Builders) -> None:
    """The API server ends in the middle of a step, and with it all tunnels."""
    at_work(victims)
    restarting = threading.Thread(
        target=outage.restart, args=(layout.cluster(layout.default_name()), "kube-apiserver"), kwargs={"after": 4}
    )
    restarting.start()
    try:
        assert codes(victims) == [0, 0, 0], "\n".join(one.log for one in victims)
    finally:
        restarting.join()
    direct, *tunnelled = victims
    assert "reconnecting" not in direct.log
    for victim in tunnelled:
        assert "the pod still runs: reconnecting" in victim.log
        assert re.search(r"reconnected by (port-forward|exec); finished steps come from the pod's cache", victim.log)
    assert builders.left() == []
