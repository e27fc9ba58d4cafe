"""Signed tokens (JWTs with ES256), and the small HTTPS servers that issue them."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey


def sign(key: EllipticCurvePrivateKey, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Sign a JWT in compact form (RFC 7515, 7.1); `header` is added to `typ` and `alg`."""
    head = {"typ": "JWT", "alg": "ES256", **header}
    signed = f"{base64url(as_json(head))}.{base64url(as_json(claims))}"
    return f"{signed}.{base64url(_signature(key, signed.encode()))}"


def verify(key: EllipticCurvePublicKey, token: str) -> dict[str, Any]:
    """Return the claims of a JWT signed with the key's private half. Raises ValueError for any other."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    signed, _, signature = token.rpartition(".")
    numbers = _decoded(signature)
    r, s = (int.from_bytes(half) for half in (numbers[:32], numbers[32:]))
    try:
        key.verify(encode_dss_signature(r, s), signed.encode(), ECDSA(SHA256()))
    except InvalidSignature:
        raise ValueError("wrong signature") from None
    return dict(json.loads(_decoded(signed.partition(".")[2])))


def as_json(value: object) -> bytes:
    """Encode a value as JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def base64url(value: bytes) -> str:
    """Encode bytes without padding (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class JsonConnection(BaseHTTPRequestHandler):
    """Handler of one client's requests; subclasses answer with :meth:`reply`."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def reply(self, status: int, body: Mapping[str, Any]) -> None:
        """Send the answer."""
        content = as_json(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve(config: Mapping[str, Any], connection: type[JsonConnection]) -> None:
    """Serve at `address` and `port` with `certificate` and `key` (files) until the process ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])
    server = ThreadingHTTPServer((config["address"], config["port"]), connection)
    # The handshake must run in the connection's thread: in accept() a silent client would block all others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signature(key: EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """Sign in the format of ES256: two numbers of 32 bytes each (RFC 7518, 3.4) instead of DER."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = decode_dss_signature(key.sign(signed, ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)
