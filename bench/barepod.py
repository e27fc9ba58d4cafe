"""The floor of a boot: one bare pod with buildkitd in an existing namespace, and a client that is already running.

It has no Job, no new namespace, no certificates, no Secret to mount and no process to start, so no other pod can answer
faster on this cluster. It connects like the product, by racing the transports.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.ground import ARCHITECTURE, IMAGE, Ground
from bench.measure import Run
from ci_buildx.buildkit.control import Control
from ci_buildx.transport import race, tunnel
from ci_buildx.transport.race import PodAddress, PodEndpoint, TransportCandidate

PORT = 1234
CONTAINER = "buildkitd"
_TIMEOUT = 60.0


def boot(ground: Ground, namespace: str) -> Run:
    """Create the pod and connect until buildkitd answers; ``seconds`` is the time between. The pod is deleted."""
    name = f"bare-{secrets.token_hex(4)}"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    start = time.monotonic()
    ground.kube.create(pods, manifest(name))
    try:
        with _followed(ground, pods, name) as seen:
            _connect(ground, seen, deadline=start + _TIMEOUT)
            seconds = time.monotonic() - start
    finally:
        ground.kube.delete(f"{pods}/{name}", options={"gracePeriodSeconds": 0})
    return Run(seconds=seconds)


def manifest(name: str) -> dict[str, Any]:
    """Return the manifest: buildkitd as in the product's pod, but in plain text over TCP."""
    container = {
        "name": CONTAINER,
        "image": IMAGE,
        "args": ["--addr", "unix:///run/buildkit/buildkitd.sock", "--addr", f"tcp://0.0.0.0:{PORT}"],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "state", "mountPath": "/var/lib/buildkit"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/arch": ARCHITECTURE},
        "containers": [container],
        "volumes": [{"name": "state", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


class _Seen:
    """The latest state of the pod."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.pod = pod
        self.scheduled = threading.Event()

    def address(self) -> PodAddress:
        metadata, status = self.pod["metadata"], self.pod.get("status") or {}
        return PodAddress(
            namespace=metadata["namespace"],
            name=metadata["name"],
            ip=status.get("podIP", ""),
            container=CONTAINER,
            port=PORT,
        )


@contextmanager
def _followed(ground: Ground, pods: str, name: str) -> Iterator[_Seen]:
    """Watch the pod in a thread."""
    stop = threading.Event()
    seen = _Seen({"metadata": {"namespace": pods.split("/")[4], "name": name}})

    def watch() -> None:
        deadline = time.monotonic() + _TIMEOUT
        for event in ground.kube.watch(pods, deadline=deadline, stop=stop, fieldSelector=f"metadata.name={name}"):
            seen.pod = event.object
            if event.object["spec"].get("nodeName"):
                seen.scheduled.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield seen
    finally:
        stop.set()


def _connect(ground: Ground, seen: _Seen, *, deadline: float) -> None:
    """Race the transports as soon as the pod has a cluster node."""
    if not seen.scheduled.wait(_TIMEOUT):
        raise TimeoutError("the bare pod was not scheduled")
    candidates = [
        TransportCandidate("direct", lambda: race.open_direct(seen.address())),
        TransportCandidate("port-forward", lambda: tunnel.open_port_forward(ground.kube, seen.address())),
        TransportCandidate("exec", lambda: tunnel.open_exec(ground.kube, seen.address())),
    ]
    winner = race.race_transports(candidates, answer=_answer, deadline=deadline, discard=Control.close)
    winner.value.close()
    winner.close()


def _answer(endpoint: PodEndpoint, timeout: float) -> Control:
    control = Control(endpoint.target)
    try:
        control.read_version(timeout)
    except BaseException:
        control.close()
        raise
    return control
