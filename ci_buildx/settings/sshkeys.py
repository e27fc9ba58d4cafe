"""Private SSH keys from files: as OpenSSH writes them, or PEM. Imports ``cryptography``."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_LOCKED = "password"


class Locked(ValueError):
    """The key has a passphrase."""


def load(text: bytes) -> PrivateKey:
    """The key in ``text``. Locked if it has a passphrase; ValueError, without quoting it, if there is none."""
    read = load_ssh_private_key if _OPENSSH in text else load_pem_private_key
    try:
        key = read(text, None)
    except (TypeError, ValueError) as error:
        if _LOCKED in str(error).lower():
            raise Locked("the key has a passphrase") from None
        raise ValueError("no private key") from None
    except UnsupportedAlgorithm:
        raise ValueError("a private key of an unknown kind") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("a private key that SSH has no use for")
    return key
