"""Ways to lose the pod of a build, each made for real; the build must go on in another one and its image be whole."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.faults import Build, Outcome
from bench.ground import Ground
from ci_buildx.builder.pods import read_pod
from ci_buildx.errors import KubeError
from ci_buildx.kube.client import KubeClient
from devcluster import outage, processes

DOCKERFILE = """FROM busybox
COPY blob /blob
RUN --mount=type=secret,id=fault test -s /run/secrets/fault && echo begun
RUN for i in $(seq 1 8); do echo tick $i; sleep 1; done
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


def list_ready_pods(kube: KubeClient, namespace: str, **query: Any) -> list[dict[str, Any]]:
    """Return the ready pods of a namespace that are not being deleted, in the order of their names."""
    items = kube.list(f"/api/v1/namespaces/{namespace}/pods", **query)["items"]
    views = ((read_pod(item), item) for item in items)
    found = (item for view, item in views if view.ready and not view.terminating)
    return sorted(found, key=lambda item: str(item["metadata"]["name"]))


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
    numbers: Iterator[int] = field(default_factory=itertools.count)

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
        return Build(self.ground, f"{self.name}-{case}-{next(self.numbers)}", dockerfile, *options, size=_BLOB, **env)

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
        slow = DOCKERFILE.replace("seq 1 8", "seq 1 32")
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
