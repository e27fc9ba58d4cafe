"""Ways to prove who we are to the API server: one small class each.

Which of them a kubeconfig's user means, where it holds several, is decided in :mod:`ci_buildx.kube.config`.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Protocol

from ci_buildx.errors import Unauthorized
from ci_buildx.kube.tls import TlsKeyPair
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


class Credentials(Protocol):
    """What a connection and its requests need to know."""

    def make_headers(self) -> dict[str, str]:
        """The request headers that authenticate, valid now. May run a plugin or read a file."""
        ...

    def read_key_pair(self) -> TlsKeyPair | None:
        """The client certificate for new connections, None for none."""
        ...

    def refresh(self) -> bool:
        """Called after a 401: get new credentials. True if they may differ, so that one more try makes sense."""
        ...


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credentials."""

    def make_headers(self) -> dict[str, str]:
        """None."""
        return {}

    def read_key_pair(self) -> TlsKeyPair | None:
        """None."""
        return None

    def refresh(self) -> bool:
        """There is nothing to refresh."""
        return False


@dataclass(frozen=True, slots=True)
class ClientCertificate(Anonymous):
    """A client certificate; ``other`` authenticates the requests besides, as client-go allows."""

    pair: TlsKeyPair
    other: Credentials

    def make_headers(self) -> dict[str, str]:
        """Those of the other credentials."""
        return self.other.make_headers()

    def read_key_pair(self) -> TlsKeyPair | None:
        """The certificate."""
        return self.pair

    def refresh(self) -> bool:
        """Refreshes the other credentials; the certificate is as it is."""
        return self.other.refresh()


@dataclass(frozen=True, slots=True)
class StaticToken(Anonymous):
    """A bearer token that stays."""

    token: Secret

    def make_headers(self) -> dict[str, str]:
        """The token."""
        return make_bearer_header(self.token)


@dataclass(frozen=True, slots=True)
class BasicAuth(Anonymous):
    """User name and password, for the proxies in front of an API server that take them."""

    username: str
    password: Secret

    def make_headers(self) -> dict[str, str]:
        """Basic authentication."""
        pair = self.username.encode() + b":" + self.password.reveal()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


@dataclass(frozen=True, slots=True)
class TokenFile(Anonymous):
    """A token in a file that somebody else rotates: the kubelet does so for service accounts, each hour or sooner.

    It is read for every request: that costs 20 microseconds and is never stale.
    """

    path: Path

    def make_headers(self) -> dict[str, str]:
        """The token as the file holds it now. Raises Unauthorized if it cannot be read."""
        try:
            token = self.path.read_text().strip()
        except OSError as cause:
            raise Unauthorized(f"cannot read the token file {self.path}: {cause.strerror}") from cause
        if not token:
            raise Unauthorized(f"the token file {self.path} is empty")
        return make_bearer_header(Secret(token))

    def refresh(self) -> bool:
        """The file may have been rotated between reading and sending."""
        return True


def make_bearer_header(token: Secret) -> dict[str, str]:
    """The header of a bearer token."""
    return {"Authorization": f"Bearer {token.reveal_text()}"}
