"""Credentials for the API server, one small class per kind.

:mod:`ci_buildx.kube.kubeconfig_user` decides which of them applies if a kubeconfig's user has several.
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
    """The authentication of a connection and its requests."""

    def make_headers(self) -> dict[str, str]:
        """Return the currently valid authentication headers. May run a plugin or read a file."""
        ...

    def read_key_pair(self) -> TlsKeyPair | None:
        """Return the client certificate for new connections, None if there is none."""
        ...

    def refresh(self) -> bool:
        """Renew the credentials after a 401; return True if they may differ, so that a retry makes sense."""
        ...


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credentials."""

    def make_headers(self) -> dict[str, str]:
        """Return no headers."""
        return {}

    def read_key_pair(self) -> TlsKeyPair | None:
        """Return None."""
        return None

    def refresh(self) -> bool:
        """Return False: nothing to refresh."""
        return False


@dataclass(frozen=True, slots=True)
class ClientCertificate(Anonymous):
    """A client certificate; ``other`` also authenticates the requests, which client-go allows."""

    pair: TlsKeyPair
    other: Credentials

    def make_headers(self) -> dict[str, str]:
        """Return the headers of the other credentials."""
        return self.other.make_headers()

    def read_key_pair(self) -> TlsKeyPair | None:
        """Return the certificate."""
        return self.pair

    def refresh(self) -> bool:
        """Refresh the other credentials; the certificate cannot be refreshed."""
        return self.other.refresh()


@dataclass(frozen=True, slots=True)
class StaticToken(Anonymous):
    """A bearer token that never changes."""

    token: Secret

    def make_headers(self) -> dict[str, str]:
        """Return the header with the token."""
        return make_bearer_header(self.token)


@dataclass(frozen=True, slots=True)
class BasicAuth(Anonymous):
    """User name and password, for proxies in front of an API server that accept them."""

    username: str
    password: Secret

    def make_headers(self) -> dict[str, str]:
        """Return the header of Basic authentication."""
        pair = self.username.encode() + b":" + self.password.reveal()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


@dataclass(frozen=True, slots=True)
class TokenFile(Anonymous):
    """A token in a file that is rotated externally; the kubelet rotates service account tokens at least hourly.

    The file is read for every request: this takes 20 microseconds, and the token is never stale.
    """

    path: Path

    def make_headers(self) -> dict[str, str]:
        """Return the header with the file's current token. Raises Unauthorized if the file is unreadable or empty."""
        try:
            token = self.path.read_text().strip()
        except OSError as cause:
            raise Unauthorized(f"cannot read the token file {self.path}: {cause.strerror}") from cause
        if not token:
            raise Unauthorized(f"the token file {self.path} is empty")
        return make_bearer_header(Secret(token))

    def refresh(self) -> bool:
        """Return True: the file may have been rotated between reading and sending."""
        return True


def make_bearer_header(token: Secret) -> dict[str, str]:
    """Make the header of a bearer token."""
    return {"Authorization": f"Bearer {token.reveal_text()}"}
