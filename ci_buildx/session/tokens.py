"""The client's token authority: registries' tokens are fetched here, so that buildkitd never sees the login.

Source: BuildKit 0.34.2, ``session/auth/authprovider/authprovider.go``, ``session/auth/auth.go`` and
``util/resolver/authorizer.go``. buildkitd keeps the tokens that it was given together with the public key of whoever
fetched them. A later session may have them too if it signs with the same key; so whoever has the same seed saves the
token's fetching. All who have no login share one key, since their tokens are the same.
"""

from __future__ import annotations

from typing import Protocol

from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a registry's challenge asks for: ``scopes`` (``repository:group/name:pull``) from ``realm`` (a URL)."""

    host: str
    realm: str
    service: str
    scopes: tuple[str, ...]


class Token(Protocol):
    """A bearer token, fresh."""

    @property
    def value(self) -> Secret:
        """What is sent to the registry."""

    @property
    def lifetime(self) -> float:
        """The seconds that it lives."""


class TokenSource(Protocol):
    """Where tokens come from. Both methods may take their time and raise KubeBuilderError."""

    def fetch(self, request: TokenRequest) -> Token:
        """A token for what is asked, with the login of its host or anonymously."""

    def seed(self, host: str) -> Secret:
        """What this client's keys for a host are made of: random, its own; empty where there is no login."""


def public_key(seed: Secret, salt: bytes) -> bytes:
    """The 32 bytes that buildkitd knows the authority by; ``salt`` is buildkitd's, anew with each start of it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_private(seed, salt)).public_key().public_bytes_raw()


def sign(seed: Secret, salt: bytes, payload: bytes) -> bytes:
    """``payload`` signed as NaCl's ``crypto_sign`` does: the signature (Ed25519, 64 bytes), then the payload."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_private(seed, salt)).sign(payload) + payload


def _private(seed: Secret, salt: bytes) -> bytes:
    import hashlib
    import hmac

    return hmac.digest(salt, seed.reveal(), hashlib.sha256)
