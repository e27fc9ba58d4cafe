"""`python -m bench.losses`: builds that lose their pods in every way, for real, and go on by themselves.

Each loss of the table is made ``--count`` times. A build has one retry, must end well and must have told what it lost;
its image is read back whole. Then pods of a pool are killed every few seconds under many concurrent builds: none that
has a retry left may fail. Results are written after each round, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench import ground, machine
from bench.faults import RESULTS, Build, Outcome
from bench.ground import Ground
from ci_buildx.builder import labels
from ci_buildx.errors import KubeError, NotFound
from devcluster import host, layout, outage, processes
from devcluster.relay import relaying_kubeconfig

DOCKERFILE = """FROM busybox
COPY blob /blob
RUN --mount=type=secret,id=fault test -s /run/secrets/fault && echo begun
RUN for i in $(seq 1 4); do echo tick $i; sleep 1; done
ARG MARK
ENV MARK=$MARK
"""
GATED = "RUN echo tick 2; until wget -q -O /dev/null http://{address}/; do sleep 1; done\n"
"""Step that lasts until something listens at the address: the loss of a cluster node takes a minute to be seen."""
AT_WORK = r"tick 2\n"
LOST = r"was lost: .*; the build goes on in another pod"
RETRIED = r"begins again in pod \S+, by \S+"
ANSWERED = re.compile(r"pod (\S+) on node (\S+) answered over")
NAMESPACE = re.compile(r"\bkube-builder-[a-z0-9-]+")
_BLOB = 1 << 20
_PATIENCE = 150.0
_AWAY = 20.0
_SETTLED = 30.0
"""Seconds in which controllers that lost the API server take up their work again."""
STORM = {"pods": 6, "builds": 30, "pause": 5.0, "retries": 10, "most": 5}


@dataclass(frozen=True, slots=True)
class Used:
    """The pod that a build uses."""

    namespace: str
    name: str
    host: str

    @property
    def path(self) -> str:
        """Return its path in the API."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


def find_daemon(uid: str) -> int:
    """Return the process of buildkitd in a pod, as the host sees it. Raises ProcessLookupError."""
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)):
        with suppress(OSError):
            if uid in (folder / "cgroup").read_text() and (folder / "comm").read_text().startswith("buildkitd"):
                return int(folder.name)
    raise ProcessLookupError(f"no buildkitd of pod {uid}")


@dataclass(slots=True, kw_only=True)
class Losses:
    """The ways to lose a pod.

    ``relay`` is a kubeconfig through a relay to the API server, and what cuts its tunnels. ``namespace`` is that of
    lasting builders.
    """

    ground: Ground
    name: str
    relay: tuple[Path, Callable[[], None]]
    namespace: str = ""
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def table(self) -> dict[str, Callable[[str], Outcome]]:
        """Return all losses by name; they can happen at the same time, except those of whole cluster nodes."""
        return {
            "deleted": self.delete,
            "evicted": self.evict,
            "preempted": self.preempt,
            "killed": lambda case: self.end_daemon(case, signal.SIGKILL),
            "crashed": lambda case: self.end_daemon(case, signal.SIGABRT),
            "unreachable": self.stop_answering,
            "restarted": self.restart_daemon,
            "taken-from-pool": self.delete_of_pool,
        }

    def table_of_nodes(self) -> dict[str, Callable[[str], Outcome]]:
        """Return the losses of a cluster node, one after the other: the devcluster has one of each architecture."""
        return {"drained": self.drain, "node-gone": self.remove_node}

    def table_of_cluster(self) -> dict[str, Callable[[str], Outcome]]:
        """Return what happens to the whole cluster, after which it needs a while to settle."""
        return {"api-away": self.stop_api_server}

    # One build.

    def build(self, case: str, *options: str, dockerfile: str = DOCKERFILE, **env: str) -> Build:
        """Start a build whose pod is about to be lost."""
        with self.lock:
            self.number += 1
            name = f"{self.name}-{case}-{self.number}"
        return Build(self.ground, name, dockerfile, *options, size=_BLOB, **env)

    def use(self, build: Build) -> Used:
        """Wait until a build is in the middle of a step; return its pod."""
        build.reach(AT_WORK)
        pods = ANSWERED.findall(build.log)
        if not pods or build.process.poll() is not None:
            raise RuntimeError(f"{build.name} did not come to its step:\n{build.log[-2000:]}")
        return Used(build.namespace or NAMESPACE.findall(build.log)[0], *pods[-1])

    def end(self, build: Build, case: str, what: str, told: str = LOST) -> Outcome:
        """Wait for the end of a build that must survive and must have told that it lost its pod."""
        outcome = build.end(case, what)
        if not re.search(told, build.log):
            outcome.faults.append(f"it does not tell what it lost: {told}")
        if not re.search(RETRIED, build.log):
            outcome.faults.append("it does not tell that it began again")
        if outcome.faults:
            outcome.last_line += f" || {build.log[-1500:]}"
        return outcome

    def delete(self, case: str) -> Outcome:
        """Delete the pod."""
        build = self.build(case)
        self.ground.kube.delete(self.use(build).path, gracePeriodSeconds=0)
        return self.end(build, case, "its pod is deleted", f"Deleted: .*{LOST[9:]}")

    def evict(self, case: str) -> Outcome:
        """Evict the pod, as an autoscaler does that removes a cluster node."""
        build = self.build(case)
        self._evict(self.use(build))
        return self.end(build, case, "its pod is evicted", r"EvictionByEvictionAPI: its cluster node was drained")

    def _evict(self, pod: Used) -> None:
        metadata = {"name": pod.name, "namespace": pod.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        self.ground.kube.create(f"{pod.path}/eviction", eviction)

    def preempt(self, case: str) -> Outcome:
        """Give the only place on the cluster node to a pod of higher priority, for a moment."""
        kube, place = self.ground.kube, f"bench.kube-builder.dev/place-{secrets.token_hex(3)}"
        node = f"/api/v1/nodes/{self.ground.cluster.nodes[0].name}/status"
        kube.patch(node, {"status": {"capacity": {place: "1"}, "allocatable": {place: "1"}}})
        try:
            limits = {"resources": {"limits": {place: "1"}}}
            template = self.ground.folder / f"{place.rpartition('/')[2]}.json"
            template.write_text(json.dumps({"spec": {"containers": [{"name": "buildkitd", **limits}]}}))
            build = self.build(case, "--driver-opt", f"pod-template={template}")
            pod = self.use(build)
            spec = {
                "priorityClassName": "system-node-critical",
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "600"], **limits}],
            }
            pods = f"/api/v1/namespaces/{pod.namespace}/pods"
            kube.create(pods, {"metadata": {"name": "important"}, "spec": spec})
            build.reach(LOST)
            with suppress(KubeError):
                kube.delete(f"{pods}/important", gracePeriodSeconds=0)
            return self.end(build, case, "its pod is preempted", "PreemptionByScheduler: it was preempted")
        finally:
            kube.patch(node, {"status": {"capacity": {place: None}, "allocatable": {place: None}}})

    def end_daemon(self, case: str, number: signal.Signals) -> Outcome:
        """End buildkitd by a signal from outside of its container: SIGABRT lets Go crash with all its stacks."""
        build = self.build(case)
        os.kill(self.daemon_of(self.use(build)), number)
        told = "buildkitd was killed by signal 9" if number is signal.SIGKILL else "buildkitd ended with exit code 2"
        return self.end(build, case, f"buildkitd gets {number.name}", told)

    def daemon_of(self, pod: Used) -> int:
        """Return the process of a pod's buildkitd."""
        return find_daemon(str(self.ground.kube.get(pod.path)["metadata"]["uid"]))

    def stop_answering(self, case: str) -> Outcome:
        """Cut the tunnel for good: the pod runs, but nothing in it answers again."""
        kubeconfig, cut = self.relay
        build = self.build(case, "--transport", "port-forward", KUBECONFIG=str(kubeconfig))
        os.kill(self.daemon_of(self.use(build)), signal.SIGSTOP)
        cut()
        told = r"buildkitd cannot be reached: .*; the build goes on in another pod"
        return self.end(build, case, "its tunnel is cut for good", told)

    # Cluster nodes.

    def drain(self, case: str) -> Outcome:
        """Cordon the cluster node and evict the pod; allow pods again once the loss is told."""
        kube, node = self.ground.kube, f"/api/v1/nodes/{self.ground.cluster.nodes[0].name}"
        build = self.build(case)
        pod = self.use(build)
        kube.patch(node, {"spec": {"unschedulable": True}})
        try:
            self._evict(pod)
            build.reach(LOST)
        finally:
            kube.patch(node, {"spec": {"unschedulable": None}})
        return self.end(
            build, case, "its cluster node is drained", "EvictionByEvictionAPI: its cluster node was drained"
        )

    def remove_node(self, case: str) -> Outcome:
        """End a cluster node's kubelet and remove the node, which comes back once the loss is told."""
        cluster = self.ground.cluster
        node = cluster.nodes[1]
        gate = Gate(str(cluster.host_address))
        gated = DOCKERFILE.replace(DOCKERFILE.splitlines(keepends=True)[3], GATED.format(address=gate.address))
        build = self.build(case, "--platform", f"linux/{node.architecture}", dockerfile=gated)
        self.use(build)
        record = processes.record(cluster, f"kubelet-{node.architecture}")
        assert record is not None, "the kubelet does not run"
        try:
            processes.stop(record)
            self.ground.kube.delete(f"/api/v1/nodes/{node.name}")
            build.reach(LOST)
        finally:
            command = [sys.executable, "-m", "devcluster", "--name", cluster.name, "up"]
            subprocess.run(command, cwd=outage.PROJECT, check=True, capture_output=True, timeout=240)
        with gate.opened():
            return self.end(build, case, "its cluster node is gone", "DeletionByPodGC: its cluster node was removed")

    def stop_api_server(self, case: str) -> Outcome:
        """End the API server for 20 s: a direct build does not notice, a tunnelled one connects again or is retried."""
        slow = DOCKERFILE.replace("seq 1 4", "seq 1 40")
        direct = self.build(case, "--transport", "direct", dockerfile=slow)
        tunnelled = self.build(case, "--transport", "port-forward", dockerfile=slow)
        self.use(direct)
        self.use(tunnelled)
        outage.restart(self.ground.cluster, "kube-apiserver", after=_AWAY)
        outcome = tunnelled.end(case, "the API server is away for 20 s")
        if not re.search(rf"reconnected by port-forward|{LOST}", tunnelled.log):
            outcome.faults.append("the tunnelled build does not tell that it connected again")
        outcome.faults += direct.end(case, "the API server is away for 20 s").faults
        if re.search(rf"reconnecting|{LOST}", direct.log):
            outcome.faults.append("the direct build noticed")
        self.settle()
        return outcome

    def settle(self) -> None:
        """Wait until the cluster's controllers work again and its nodes take pods."""
        deadline = time.monotonic() + _PATIENCE
        time.sleep(_SETTLED)
        while time.monotonic() < deadline:
            nodes = self.ground.kube.list("/api/v1/nodes")["items"]
            if not any(node["spec"].get("taints") for node in nodes):
                return
            time.sleep(1)

    # Lasting builders.

    @contextmanager
    def lasting(self, shape: str) -> Iterator[str]:
        """Provide a lasting builder in the namespace of this run; removed at the end."""
        name = f"b{secrets.token_hex(3)}"
        place = ["--driver-opt", f"namespace={self.namespace},{shape}"]
        config = ["--buildkitd-config", str(self.ground.buildkitd_config)]
        call(self.ground, "create", "--name", name, "--bootstrap", *place, *config)
        try:
            yield name
        finally:
            call(self.ground, "rm", "--namespace", self.namespace, name)

    def on(self, builder: str, *options: str) -> tuple[str, ...]:
        """Return the options of a build on a lasting builder."""
        return ("--builder", builder, "--namespace", self.namespace, *options)

    def delete_of_pool(self, case: str) -> Outcome:
        """Delete the pod of a pool that a build is in: the next of its key's order takes over."""
        with self.lasting("replicas=2,max-builds=2,grace-period=1") as builder:
            build = self.build(case, *self.on(builder))
            pod = self.use(build)
            self.ground.kube.delete(pod.path, gracePeriodSeconds=0)
            outcome = self.end(build, case, "its pod of a pool is deleted")
            if ANSWERED.findall(build.log)[-1][0] == pod.name:
                outcome.faults.append("it is in the same pod")
            return outcome

    def restart_daemon(self, case: str) -> Outcome:
        """Kill buildkitd in the only pod of a lasting builder, whose kubelet restarts it there."""
        with self.lasting("replicas=1") as builder:
            build = self.build(case, *self.on(builder))
            os.kill(self.daemon_of(self.use(build)), signal.SIGKILL)
            return self.end(build, case, "its daemon is restarted", "buildkitd was killed by signal 9")


class Gate:
    """A port of ``host`` that nothing listens at until it is opened."""

    def __init__(self, host: str) -> None:
        self._host = host
        with socket.create_server((host, 0)) as reserved:
            self._port = int(reserved.getsockname()[1])

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{self._host}:{self._port}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Answer each request."""
        with ThreadingHTTPServer((self._host, self._port), _Answer) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with nothing."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def call(prepared: Ground, *arguments: str) -> None:
    """Run a verb. Raises CalledProcessError."""
    subprocess.run([str(prepared.product), *arguments], env=prepared.env, check=True, capture_output=True, timeout=240)


@contextmanager
def opened(prepared: Ground, relay: tuple[Path, Callable[[], None]]) -> Iterator[Losses]:
    """Provide the losses, with a namespace for lasting builders that is deleted at the end."""
    name = f"l{secrets.token_hex(2)}"
    prepared.kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        prepared.account.let_into(name)
        yield Losses(ground=prepared, name=name, relay=relay, namespace=name)
    finally:
        prepared.kube.delete(f"/api/v1/namespaces/{name}")


# A pool whose pods are killed all the time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Builds under which pods were killed: how many failed, how many of those had a retry left, what was lost."""

    builds: int
    pods: int
    killed: int
    lost: int
    succeeded: int
    out_of_retries: int
    seconds: float
    faults: list[str]


def storm(losses: Losses, *, pods: int, builds: int, pause: float, retries: int, most: int, seed: int = 1) -> Storm:
    """Kill a pod every ``pause`` seconds, by turns its object and its daemon, while ``builds`` builds run at once."""
    drawn, over = random.Random(seed), threading.Event()
    killed: list[str] = []
    shape = f"replicas={pods},max-builds={most},grace-period=1"
    began = time.monotonic()
    with losses.lasting(shape) as builder:
        options = losses.on(builder, "--retries", str(retries), "--queue-timeout", "10m")
        killer = threading.Thread(target=lambda: _kill_pods(losses, builder, pause, drawn, over, killed))
        killer.start()
        try:
            with ThreadPoolExecutor(builds) as threads:
                keys = [f"{{target}}app{number % (2 * pods)}" for number in range(builds)]
                found = list(threads.map(lambda key: _weather(losses, (*options, "--sticky-key", key)), keys))
        finally:
            over.set()
            killer.join()
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{losses.namespace}/leases"
        items = losses.ground.kube.list(leases)["items"]
        left = [one["metadata"]["name"] for one in items if one["spec"].get("holderIdentity")]
    faults = [f"{outcome.name}: {fault}; {outcome.last_line}" for outcome, _ in found for fault in outcome.faults]
    out = sum(bool(outcome.exit_code) and "(no retry is left)" in log for outcome, log in found)
    return Storm(
        builds=builds,
        pods=pods,
        killed=len(killed),
        lost=sum(log.count("the build goes on in another pod") for _, log in found),
        succeeded=sum(outcome.exit_code == 0 for outcome, _ in found),
        out_of_retries=out,
        seconds=round(time.monotonic() - began, 1),
        faults=faults + [f"Lease {name} is left" for name in left],
    )


def _weather(losses: Losses, options: Sequence[str]) -> tuple[Outcome, str]:
    build = losses.build("storm", *options)
    outcome = build.end("storm", "pods are killed", survives=False)
    if outcome.exit_code and "(no retry is left)" not in build.log:
        outcome.faults.append(f"it failed with a retry left: {build.log[-1500:]}")
    return outcome, build.log


def _kill_pods(
    losses: Losses, builder: str, pause: float, drawn: random.Random, over: threading.Event, killed: list[str]
) -> None:
    pods = f"/api/v1/namespaces/{losses.namespace}/pods"
    while not over.wait(pause):
        with suppress(KubeError, NotFound, ProcessLookupError):
            found = losses.ground.kube.list(pods, labelSelector=f"{labels.BUILDER}={builder}")["items"]
            ready = [
                one
                for one in found
                if not one["metadata"].get("deletionTimestamp")
                and any(status.get("ready") for status in one["status"].get("containerStatuses") or ())
            ]
            if not ready:
                continue
            victim = drawn.choice(ready)["metadata"]
            if drawn.random() < 0.5:
                losses.ground.kube.delete(f"{pods}/{victim['name']}", gracePeriodSeconds=0)
            else:
                os.kill(find_daemon(victim["uid"]), signal.SIGKILL)
            killed.append(victim["name"])


# The run.


def make_round(losses: Losses, wanted: Sequence[str]) -> list[Outcome]:
    """Make each loss once: those of pods at the same time, then those of cluster nodes."""
    together = {name: do for name, do in losses.table().items() if not wanted or name in wanted}
    with ThreadPoolExecutor(max(len(together), 1)) as threads:
        outcomes = list(threads.map(lambda one: one[1](one[0]), together.items()))
    alone = losses.table_of_nodes() | losses.table_of_cluster()
    return outcomes + [do(name) for name, do in alone.items() if not wanted or name in wanted]


def main() -> int:
    """Make the losses; return 1 for any build that did not go on."""
    made = argparse.ArgumentParser(prog="python -m bench.losses", description=__doc__)
    made.add_argument("--count", type=int, default=10, metavar="N", help="rounds of all losses (default: 10)")
    made.add_argument("--builds", type=int, default=STORM["builds"], metavar="N", help="builds at once; 0: none")
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="losses to make")
    made.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    file = RESULTS / f"losses-{time.strftime('%Y-%m-%d')}.json"
    made.add_argument("--json", type=Path, default=file, metavar="FILE", help="results, read to go on with")
    arguments = made.parse_args()
    host.become_root()
    written: dict[str, Any] = {"rounds": []}
    if arguments.json.exists():
        written = json.loads(arguments.json.read_text())
    with (
        ground.prepared(layout.cluster(arguments.cluster)) as prepared,
        relaying_kubeconfig(Path(prepared.env["KUBECONFIG"]), prepared.folder) as relay,
    ):
        written |= {"machine": machine.facts(), "commit": machine.commit()}
        with opened(prepared, relay) as losses:
            while len(written["rounds"]) < arguments.count:
                outcomes = make_round(losses, arguments.only)
                written["rounds"].append([asdict(one) for one in outcomes])
                _save(arguments.json, written)
                for one in outcomes:
                    verdict = "; ".join(one.faults) or "right"
                    print(f"{one.case:16} exit {one.exit_code:4} {one.seconds:6.1f} s  {verdict}", flush=True)
            if arguments.builds and "storm" not in written:
                written["storm"] = asdict(storm(losses, **{**STORM, "builds": arguments.builds}))
                _save(arguments.json, written)
    bad = [each for found in written["rounds"] for each in found if each["faults"]]
    total = sum(map(len, written["rounds"]))
    print(f"{total - len(bad)} of {total} builds that lost their pod went on; {written.get('storm')}")
    return int(bool(bad or written.get("storm", {}).get("faults")))


def _save(file: Path, written: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
