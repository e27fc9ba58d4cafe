"""Outages of a devcluster: packets between it and the machine are dropped, or one of its processes is started anew."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from devcluster import namespaces, processes
from devcluster.layout import Cluster

PROJECT = Path(__file__).parents[1]
_LINK = "eth0"
"""The cluster's end of the link to the machine: all packets between clients and the cluster pass it."""
_RULES = (("INPUT", "-i"), ("FORWARD", "-i"), ("OUTPUT", "-o"), ("FORWARD", "-o"))


@contextmanager
def cut(cluster: Cluster) -> Iterator[None]:
    """Drop every packet between the machine and the cluster, in both directions, without a word to either side."""
    with _dropping(cluster, [(chain, way, _LINK) for chain, way in _RULES]):
        yield


@contextmanager
def deaf_port(cluster: Cluster, port: int) -> Iterator[None]:
    """Drop what the machine sends to a port of the cluster's pods; kubelets reach it."""
    with _dropping(cluster, [("FORWARD", "-i", _LINK, "-p", "tcp", "--dport", str(port))]):
        yield


@contextmanager
def _dropping(cluster: Cluster, matches: list[tuple[str, ...]]) -> Iterator[None]:
    with ExitStack() as undo:
        for match in matches:
            rule = (*match, "-j", "DROP")
            _iptables(cluster, "-I", *rule)
            undo.callback(_iptables, cluster, "-D", *rule)
        yield


def cut_for(cluster: Cluster, seconds: float) -> None:
    """Cut the cluster off for so long."""
    with cut(cluster):
        time.sleep(seconds)


def restart(cluster: Cluster, *names: str, after: float) -> None:
    """End processes of the cluster and start them ``after`` so many seconds; return when all of it is healthy."""
    for name in names:
        record = processes.record(cluster, name)
        assert record is not None, f"{name} does not run"
        processes.stop(record)
    time.sleep(after)
    command = [sys.executable, "-m", "devcluster", "--name", cluster.name, "up"]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=240)


def _iptables(cluster: Cluster, *arguments: str) -> None:
    command = [*namespaces.enter(cluster, mount=False), "--", "iptables", "--wait", *arguments]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
