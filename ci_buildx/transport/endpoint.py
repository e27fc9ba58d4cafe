"""The values that all transports share."""

from __future__ import annotations

from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod that runs buildkitd. ``ip`` may be "" while it boots; ``port`` is buildkitd's, spoken with mTLS."""

    namespace: str
    name: str
    ip: str
    container: str
    port: int = 1234

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def path(self, subresource: str) -> str:
        """The API path of one of the pod's subresources."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/{subresource}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The client's part of mTLS, PEM. ``server_name`` is the name that buildkitd's certificate is for."""

    ca: bytes
    certificate: bytes
    key: Secret
    server_name: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``target`` is a gRPC target (``10.1.2.3:1234``, ``unix:/…``); ``secure``: speak mTLS over it."""

    target: str
    secure: bool
