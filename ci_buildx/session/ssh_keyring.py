"""Our own SSH agent for private keys. Imports ``cryptography``.

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
from ci_buildx.session.ssh import (
    FAILURE,
    IDENTITIES_ANSWER,
    REQUEST_IDENTITIES,
    SIGN_REQUEST,
    SIGN_RESPONSE,
    encode_count,
    encode_text,
    read_number,
    take_text,
)
from ci_buildx.settings.ssh import PrivateKey, load_key

_SHA256, _SHA512 = 2, 4
"""Flags of a sign request (draft-ietf-sshm-ssh-agent, section 4.5.1)."""


class SshKeyring:
    """An SSH agent that holds ``keys``."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._keys = {_encode_public_key(key): key for key in (load_key(secret.reveal()) for secret in keys)}

    @contextmanager
    def open_connection(self) -> Iterator[Callable[[bytes], bytes]]:
        """Connect: yield a function from each request to its response."""
        yield self.answer

    def answer(self, request: bytes) -> bytes:
        """Return the response to one request. Raises ValueError if the request is malformed."""
        kind = request[0] if request else None
        if kind == REQUEST_IDENTITIES:
            keys = b"".join(encode_text(blob) + encode_text(b"") for blob in self._keys)
            return bytes((IDENTITIES_ANSWER,)) + encode_count(len(self._keys)) + keys
        return self._sign(request[1:]) if kind == SIGN_REQUEST else FAILURE

    def _sign(self, request: bytes) -> bytes:
        blob, rest = take_text(request)
        data, rest = take_text(rest)
        key = self._keys.get(blob)
        return bytes((SIGN_RESPONSE,)) + encode_text(_sign_data(key, data, read_number(rest))) if key else FAILURE


def _encode_public_key(key: PrivateKey) -> bytes:
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split(b" ")[1])


def _sign_data(key: PrivateKey, data: bytes, flags: int) -> bytes:
    match key:
        case Ed25519PrivateKey():
            return encode_text(b"ssh-ed25519") + encode_text(key.sign(data))
        case RSAPrivateKey():
            name, algorithm = _choose_rsa_hash(flags)
            return encode_text(name) + encode_text(key.sign(data, padding.PKCS1v15(), algorithm))
        case ec.EllipticCurvePrivateKey():
            numbers = decode_dss_signature(key.sign(data, ec.ECDSA(_choose_curve_hash(key.curve))))
            name = take_text(_encode_public_key(key))[0]
            return encode_text(name) + encode_text(b"".join(encode_text(_encode_mpint(value)) for value in numbers))
        case _:
            assert_never(key)


def _choose_rsa_hash(flags: int) -> tuple[bytes, hashes.HashAlgorithm]:
    if flags & _SHA512:
        return b"rsa-sha2-512", hashes.SHA512()
    if flags & _SHA256:
        return b"rsa-sha2-256", hashes.SHA256()
    return b"ssh-rsa", hashes.SHA1()  # noqa: S303 - what old servers ask for


def _choose_curve_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Choose the hash for a curve (RFC 5656, section 6.2.1)."""
    if curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if curve.key_size <= 384 else hashes.SHA512()


def _encode_mpint(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
