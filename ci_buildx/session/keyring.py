"""An SSH agent of our own over private keys. Imports ``cryptography``.

Formats of keys and signatures: RFC 4253 (RSA), RFC 5656 (ECDSA), RFC 8332 (RSA with SHA-2), RFC 8709 (Ed25519).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ci_buildx.model.secret import Secret
from ci_buildx.session.agent import (
    FAILURE,
    IDENTITIES_ANSWER,
    REQUEST_IDENTITIES,
    SIGN_REQUEST,
    SIGN_RESPONSE,
    count,
    number,
    take,
    text,
)
from ci_buildx.settings.sshkeys import PrivateKey, load

_SHA256, _SHA512 = 2, 4
"""Flags of a request to sign (draft-ietf-sshm-ssh-agent, section 4.5.1)."""


class Keyring:
    """Answers what an agent is asked."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._keys = {_public(key): key for key in (load(secret.reveal()) for secret in keys)}

    @contextmanager
    def opened(self) -> Iterator[Callable[[bytes], bytes]]:
        """A connection: a function from each request to its answer."""
        yield self.answer

    def answer(self, request: bytes) -> bytes:
        """The answer to one request. ValueError if it is malformed."""
        kind = request[0] if request else None
        if kind == REQUEST_IDENTITIES:
            keys = b"".join(text(blob) + text(b"") for blob in self._keys)
            return bytes((IDENTITIES_ANSWER,)) + count(len(self._keys)) + keys
        return self._sign(request[1:]) if kind == SIGN_REQUEST else FAILURE

    def _sign(self, request: bytes) -> bytes:
        blob, rest = take(request)
        data, rest = take(rest)
        key = self._keys.get(blob)
        return bytes((SIGN_RESPONSE,)) + text(_signature(key, data, number(rest))) if key else FAILURE


def _public(key: PrivateKey) -> bytes:
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split(b" ")[1])


def _signature(key: PrivateKey, data: bytes, flags: int) -> bytes:
    match key:
        case Ed25519PrivateKey():
            return text(b"ssh-ed25519") + text(key.sign(data))
        case RSAPrivateKey():
            name, algorithm = _of_rsa(flags)
            return text(name) + text(key.sign(data, padding.PKCS1v15(), algorithm))
        case ec.EllipticCurvePrivateKey():
            numbers = decode_dss_signature(key.sign(data, ec.ECDSA(_of_curve(key.curve))))
            name = take(_public(key))[0]
            return text(name) + text(b"".join(text(_mpint(value)) for value in numbers))
        case _:
            assert_never(key)


def _of_rsa(flags: int) -> tuple[bytes, hashes.HashAlgorithm]:
    if flags & _SHA512:
        return b"rsa-sha2-512", hashes.SHA512()
    if flags & _SHA256:
        return b"rsa-sha2-256", hashes.SHA256()
    return b"ssh-rsa", hashes.SHA1()  # noqa: S303 - what old servers ask for


def _of_curve(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """RFC 5656, section 6.2.1."""
    if curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if curve.key_size <= 384 else hashes.SHA512()


def _mpint(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
