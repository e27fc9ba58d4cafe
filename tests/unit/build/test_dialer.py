"""Changing over from a tunnel that won to the pod's own address."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from ci_buildx.build.dialer import CHANGE_TIME, PodDialer
from ci_buildx.builder.builder import ADDRESS_LABEL, PORT
from ci_buildx.builder.pods import PodView
from ci_buildx.errors import BuildkitError
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport.race import PodEndpoint, TransportWinner
from tests.unit.conftest import DebugLog

HERE = f"127.1.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
"""An address of the loopback that no other test run uses: buildkitd's port is fixed."""
POD = PodView(name="buildkit-amd64-x", namespace="n", node="amd64")


class Answering(PodDialer):
    """Ways whose buildkitd answers at ``good`` addresses, and nowhere else."""

    good: tuple[str, ...] = (f"{HERE}:{PORT}",)

    def dial(self, endpoint: PodEndpoint) -> Any:
        def info(_: float) -> None:
            if endpoint.target not in self.good:
                raise BuildkitError("silence")

        return SimpleNamespace(read_version=info, close=lambda: None)


@pytest.fixture
def listening() -> Iterator[None]:
    """The port of buildkitd, here."""
    with socket.create_server((HERE, PORT)):
        yield


def changed(ip: str, *, chosen: TransportChoice = TransportChoice.AUTO, known: str = "", pod: PodView = POD) -> str:
    kube: Any = None
    keys: Any = None
    ended: list[str] = []
    undo = ExitStack()
    undo.callback(ended.append, "tunnel")
    labels = {ADDRESS_LABEL: ip}
    control: Any = SimpleNamespace(labels=labels, platforms=(), close=lambda: ended.append("control"))
    tunnel = TransportWinner("port-forward", PodEndpoint("unix:/s", secure=True), control, undo)
    with Answering(kube=kube, keys=keys, chosen=chosen, known=known).prefer_direct(pod, tunnel) as winner:
        if winner.name == "direct":
            assert winner.value.labels == labels
            assert ended[:1] == ["control"]
        else:
            assert ended == []
        return winner.name


@pytest.mark.usefixtures("listening")
def test_the_pods_own_address_takes_over_before_the_build_begins() -> None:
    assert changed(HERE) == "direct"


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("ip", ["", "registry.example", "127.0.0.1:80", "0x7f000001"])
def test_a_label_that_is_no_address_is_not_dialled(ip: str) -> None:
    assert changed(ip) == "port-forward"


@pytest.mark.usefixtures("listening")
def test_who_chose_a_tunnel_keeps_it_and_so_does_who_knows_that_only_tunnels_lead_there() -> None:
    assert changed(HERE, chosen=TransportChoice.PORT_FORWARD) == "port-forward"
    assert changed(HERE, known="port-forward") == "port-forward"
    assert changed(HERE, known="direct") == "direct"


def test_an_address_that_does_not_answer_costs_a_tenth_of_a_second() -> None:
    started = time.monotonic()
    assert changed(HERE) == "port-forward"  # refused
    assert changed("198.51.100.1") == "port-forward"  # an address that nobody has (RFC 5737)
    assert time.monotonic() - started < CHANGE_TIME + 5  # of a busy machine


@pytest.mark.usefixtures("listening")
def test_what_listens_there_and_is_no_buildkitd_of_ours_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "good", ())
    assert changed(HERE) == "port-forward"


@pytest.mark.usefixtures("listening")
def test_the_debug_log_tells_what_takes_over(debug_log: DebugLog, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(HERE)
    monkeypatch.setattr(Answering, "good", ())
    changed(HERE)
    pod = f"pod {POD.name}"
    assert debug_log.of("build") == [
        f"{pod}: direct takes over from port-forward",
        f"{pod}: keeping port-forward, direct does not respond: silence",
    ]
