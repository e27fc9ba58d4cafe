"""A second cluster beside the one that other tests use: it heals, survives the worst, and leaves no trace."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import components, health, inotify, layout, namespaces, processes, sweep
from devcluster.api import Api
from devcluster.layout import Cluster
from tests.integration.devcluster.traces import traces

COMMAND = [sys.executable, "-m", "devcluster", "--name", "probe"]


def devcluster(verb: str) -> str:
    done = subprocess.run([*COMMAND, verb], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def faults(cluster: Cluster) -> list[str]:
    return [str(finding) for finding in health.findings(cluster) if finding.fault]


@pytest.fixture(scope="module")
def probe() -> Iterator[Cluster]:
    """Up for these tests; when they are done, the host must look as before."""
    assert os.geteuid() == 0, "these tests kill and unmount: run them as root"
    devcluster("down")
    before = traces()
    neighbours = [process for process in processes.records(layout.cluster(layout.default_name())) if process.alive]
    devcluster("up")
    yield layout.cluster("probe")
    devcluster("down")
    assert traces() == before
    assert [process.name for process in neighbours if not process.alive] == []


def run_pod(api: Api, node: layout.Node) -> str:
    """Start a pod that greets whoever connects; its address."""
    name = f"greeter-{node.architecture}"
    command = ["sh", "-c", "while :; do nc -l -p 7 -e echo hello; done"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"kubernetes.io/arch": node.architecture},
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "greeter", "image": "busybox", "command": command}],
        },
    }
    status, body = api.call("POST", "/api/v1/namespaces/default/pods", pod)
    assert status == 201, body
    return await_pod(api, name)


def await_pod(api: Api, name: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pod: Any = api.get(f"/api/v1/namespaces/default/pods/{name}")
        if pod["status"]["phase"] == "Running" and "podIP" in pod["status"]:
            return str(pod["status"]["podIP"])
        time.sleep(0.1)
    raise AssertionError(f"pod {name} does not run: {pod['status']}")


def greeting(address: str) -> bytes:
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection((address, 7), timeout=5) as channel:
                return channel.recv(100)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def greeting_after_restart(api: Api, name: str) -> bytes:
    """The pod has a new address as soon as its kubelet has noticed that the old sandbox is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return greeting(await_pod(api, name))
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_pods_run_on_both_nodes_and_answer_the_host_directly(probe: Cluster) -> None:
    api = Api(probe)
    for node in probe.nodes:
        assert greeting(run_pod(api, node)) == b"hello\n"


def test_many_clusters_fit_the_hosts_limit_of_inotify_instances(probe: Cluster) -> None:
    """The kernel counts them for each user, so those of all clusters add up."""
    used = sum(count_inotify_instances(process.pid) for process in processes.records(probe))
    assert used > 0
    assert 20 * used < int(inotify.LIMIT.read_text())


def count_inotify_instances(pid: int) -> int:
    """How many a process has open; files that are closed meanwhile are none."""
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(file.readlink()) == "anon_inode:inotify"
    return count


def test_up_again_changes_nothing(probe: Cluster) -> None:
    before = processes.records(probe)
    devcluster("up")
    assert processes.records(probe) == before


def test_up_starts_anew_what_reads_other_settings_now(probe: Cluster) -> None:
    """As after an update of the checkout: coredns was started with a Corefile that `up` writes otherwise."""
    current = processes.record(probe, "coredns")
    assert current
    processes.stop(current)
    file = probe.configuration / "Corefile"
    file.write_text(file.read_text().replace("ttl 5", "ttl 6"))
    processes.start(probe, "coredns", components.coredns(file), namespaces.enter(probe))
    before = processes.records(probe)
    devcluster("up")
    changed = [process.name for process in processes.records(probe) if process not in before]
    assert changed == ["coredns"]
    assert faults(probe) == []


def test_a_cluster_of_that_name_elsewhere_is_left_alone(probe: Cluster, tmp_path: Path) -> None:
    for verb in ("up", "down"):
        done = subprocess.run(
            [*COMMAND, verb],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "KUBE_BUILDER_STATE": str(tmp_path)},
        )
        assert done.returncode == 1
        assert "KUBE_BUILDER_STATE" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert faults(probe) == []


def test_a_name_with_the_same_addresses_is_refused(probe: Cluster) -> None:
    names = (f"n{number}" for number in itertools.count())
    twin = next(name for name in names if layout.cluster(name).network == probe.network)
    done = subprocess.run([*COMMAND[:-1], twin, "up"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{probe.network}" in done.stderr
    assert not layout.cluster(twin).state.exists()


def test_up_starts_what_was_killed_and_pods_go_on(probe: Cluster) -> None:
    victims = ["etcd", "containerd-arm64", "kubelet-amd64", "registry-open", "coredns"]
    before = {process.name: process for process in processes.records(probe)}
    for name in victims:
        os.kill(before[name].pid, signal.SIGKILL)
    assert faults(probe)
    devcluster("up")
    assert faults(probe) == []
    changed = {process.name for process in processes.records(probe) if process != before[process.name]}
    assert set(victims) <= changed
    for node in probe.nodes:
        assert greeting(await_pod(Api(probe), f"greeter-{node.architecture}")) == b"hello\n"


@pytest.mark.parametrize("reboot", [False, True])
def test_up_brings_pods_back_when_nothing_lives(probe: Cluster, reboot: bool) -> None:
    sweep.kill(probe)
    if reboot:
        namespaces.remove(probe)
    devcluster("up")
    assert faults(probe) == []
    for node in probe.nodes:
        assert greeting_after_restart(Api(probe), f"greeter-{node.architecture}") == b"hello\n"


@pytest.mark.parametrize("last_phase", ["namespaces", "registries", "API server"])
def test_down_cleans_up_after_an_up_that_was_killed(probe: Cluster, last_phase: str) -> None:
    devcluster("down")
    before = traces()
    with subprocess.Popen([*COMMAND, "up"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith(last_phase):
                process.kill()
                break
    devcluster("down")
    assert traces() == before


def test_down_twice_is_no_error(probe: Cluster) -> None:
    devcluster("down")
    devcluster("down")
