"""Values that all transports share, and the direct transport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.errors import TransportError
from ci_buildx.kube.connection import open_tcp_connection
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod that runs buildkitd.

    ``ip`` may be "" while the pod boots. ``port`` is buildkitd's TCP port, which requires mTLS.
    """

    namespace: str
    name: str
    ip: str
    container: str
    port: int = 1234

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def make_path(self, subresource: str) -> str:
        """Return the API path of one of the pod's subresources."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/{subresource}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentity:
    """The client's half of mTLS, PEM. ``server_name`` is the name in buildkitd's certificate."""

    ca: bytes
    certificate: bytes
    key: Secret
    server_name: str


@dataclass(frozen=True, slots=True)
class PodEndpoint:
    """A gRPC ``target`` (``10.1.2.3:1234``, ``unix:/…``); ``secure`` requires mTLS over it."""

    target: str
    secure: bool


KNOCK_TIMEOUT = 1.0
"""Seconds to wait for TCP; a reachable pod network answers in a hundredth of that."""


@contextmanager
def open_direct(pod: PodAddress, *, timeout: float = KNOCK_TIMEOUT) -> Iterator[PodEndpoint]:
    """Open the endpoint at the pod's own address, waiting ``timeout`` seconds for TCP.

    Raises TransportError if the pod has no address or nothing listens there yet. The TCP probe costs a thousandth of a
    gRPC attempt.
    """
    if not pod.ip:
        raise TransportError(f"pod {pod} has no address yet")
    try:
        open_tcp_connection((pod.ip, pod.port), timeout).close()
    except OSError as cause:
        reason = "no answer" if isinstance(cause, TimeoutError) else cause.strerror or str(cause)
        raise TransportError(f"{pod.ip}:{pod.port}: {reason}") from cause
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    yield PodEndpoint(f"{host}:{pod.port}", secure=True)
