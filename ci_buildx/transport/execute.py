"""To buildkitd's UNIX socket by a command in its container: ``buildctl dial-stdio`` over ``pods/exec``.

It needs no open port and no certificate, and is the slowest: the last resort.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.kube.client import KubeClient
from ci_buildx.transport import gate
from ci_buildx.transport.channels import ExecChannels
from ci_buildx.transport.endpoint import Endpoint, PodAddress
from ci_buildx.transport.gate import Tunnel

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""v5 from Kubernetes 1.30 on; it is faster, because the API server then speaks SPDY to the kubelet."""

COMMAND = ("buildctl", "dial-stdio")


@contextmanager
def open(kube: KubeClient, pod: PodAddress, *, command: tuple[str, ...] = COMMAND) -> Iterator[Endpoint]:  # noqa: A001
    """The endpoint of ``command``'s standard input and output, without TLS. Raises the KubeError tree."""
    query = [("container", pod.container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]

    def dial() -> Tunnel:
        return Tunnel(kube.websocket(pod.path("exec"), query, PROTOCOLS), ExecChannels())

    with gate.open(dial) as target:
        yield Endpoint(target, secure=False)
