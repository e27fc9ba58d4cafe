"""Straight to the pod's address: for runners inside the cluster, or with a route to its pods.

Proxy variables never apply to pods: the socket here knows none, and the gRPC channel on the endpoint must be made with
``grpc.enable_http_proxy=0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.errors import TransportError
from ci_buildx.kube.dial import connected
from ci_buildx.transport.endpoint import Endpoint, PodAddress

KNOCK_TIMEOUT = 1.0
"""Seconds to wait for TCP; a pod network that is reachable at all answers in a hundredth of that."""


@contextmanager
def open(pod: PodAddress, *, timeout: float = KNOCK_TIMEOUT) -> Iterator[Endpoint]:  # noqa: A001
    """The endpoint at the pod's own address, where TCP has ``timeout`` seconds to answer.

    Raises TransportError if nothing listens there (yet): a knock at the door costs a thousandth of a gRPC attempt.
    """
    if not pod.ip:
        raise TransportError(f"pod {pod} has no address yet")
    try:
        connected((pod.ip, pod.port), timeout).close()
    except OSError as cause:
        reason = "no answer" if isinstance(cause, TimeoutError) else cause.strerror or str(cause)
        raise TransportError(f"{pod.ip}:{pod.port}: {reason}") from cause
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    yield Endpoint(f"{host}:{pod.port}", secure=True)
