"""To buildkitd's TCP port through the API server and the kubelet: ``pods/portforward``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.kube.client import KubeClient
from ci_buildx.transport import gate
from ci_buildx.transport.channels import PortForwardChannels
from ci_buildx.transport.endpoint import Endpoint, PodAddress
from ci_buildx.transport.gate import Tunnel

PROTOCOL = "v4.channel.k8s.io"


@contextmanager
def open(kube: KubeClient, pod: PodAddress) -> Iterator[Endpoint]:  # noqa: A001
    """The endpoint of a forwarded port; mTLS is spoken through it. Raises the KubeError tree."""

    def dial() -> Tunnel:
        remote = kube.websocket(pod.path("portforward"), [("ports", str(pod.port))], [PROTOCOL])
        return Tunnel(remote, PortForwardChannels())

    with gate.open(dial) as target:
        yield Endpoint(target, secure=True)
