"""A token server for the registry with bearer tokens: `python -m devcluster.tokens CONFIG.json`.

On one URL it serves both protocols that registry clients use:

- `GET /token?service=…&scope=…` with HTTP basic authentication (distribution 2.8.2, docs/spec/auth/token.md);
- `POST /token` with a password or refresh_token grant (the same, docs/spec/auth/oauth.md).

The access granted is the part of the request that the account may have; requesting more is not an error (token.md,
"Requesting a Token"). Tokens are JWTs as distribution 2.8.2 verifies them (registry/auth/token/token.go): `aud` is a
single string, the key is a certificate in `x5c`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ci_buildx.model.secret import Secret
from devcluster import jwt
from devcluster.scopes import Account, Scope, parse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

JOB = "job"
"""The account whose password is an OIDC token."""
ANONYMOUS = ""
"""The account of a client without credentials."""

_LARGEST_FORM = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Signs tokens with ES256. `certificate` (DER) holds the key's public half, `lifetime` is in seconds."""

    name: str
    service: str
    key: EllipticCurvePrivateKey
    certificate: bytes
    lifetime: int = 300
    clock: Callable[[], float] = time.time

    def sign(self, subject: str, access: Iterable[Scope]) -> str:
        """Return a JWT in compact form for the subject."""
        now = int(self.clock())
        claims = {
            "iss": self.name,
            "sub": subject,
            "aud": self.service,
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(16),
            "access": [{"type": scope.type, "name": scope.name, "actions": list(scope.actions)} for scope in access],
        }
        return jwt.sign(self.key, {"x5c": [base64.b64encode(self.certificate).decode()]}, claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response: HTTP status and JSON body."""

    status: int
    body: dict[str, Any]


class Refused(Exception):
    """A refused request for a token; `answer` holds the reason in the format of RFC 6749, 5.2."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.answer = Answer(status=status, body={"error": error, "error_description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenService:
    """Decides about tokens, without network access; refresh tokens are valid as long as this object exists.

    The password of the account `JOB` is an OIDC token for this registry, signed with the key `jobs`.
    """

    issuer: Issuer
    accounts: Mapping[str, Account]
    jobs: EllipticCurvePublicKey | None = None
    _refresh: dict[str, str] = field(default_factory=dict)

    def get(self, query: Mapping[str, list[str]], authorization: str) -> Answer:
        """Answer a GET; `authorization` is the header's value, or ""."""
        try:
            user = self._authenticate(*_basic(authorization)) if authorization else ANONYMOUS
            body = self._grant(user, query)
        except Refused as refused:
            return refused.answer
        body["token"] = body["access_token"]
        if user != ANONYMOUS and _first(query, "offline_token") == "true":
            body["refresh_token"] = self._remember(user)
        return Answer(status=200, body=body)

    def post(self, form: Mapping[str, list[str]]) -> Answer:
        """Answer a POST of the OAuth 2 protocol."""
        try:
            user = self._grantee(form)
            body = self._grant(user, form)
        except Refused as refused:
            return refused.answer
        if _first(form, "grant_type") == "refresh_token":
            body["refresh_token"] = _first(form, "refresh_token")
        elif _first(form, "access_type") == "offline":
            body["refresh_token"] = self._remember(user)
        return Answer(status=200, body=body)

    def _grantee(self, form: Mapping[str, list[str]]) -> str:
        match _first(form, "grant_type"):
            case "password":
                return self._authenticate(_first(form, "username"), _first(form, "password"))
            case "refresh_token":
                user = self._refresh.get(_first(form, "refresh_token"))
                if user is None:
                    raise Refused(401, "invalid_grant", "unknown refresh token")
                return user
            case other:
                raise Refused(400, "unsupported_grant_type", f"grant type {other!r} is not served")

    def _authenticate(self, user: str, password: str) -> str:
        if user == JOB and self._is_job(password):
            return user
        account = self.accounts.get(user)
        expected = account.password.reveal() if account else b""
        right = hmac.compare_digest(expected, password.encode())
        if account is None or not right or user == ANONYMOUS:
            raise Refused(401, "invalid_grant", "wrong user name or password")
        return user

    def _is_job(self, token: str) -> bool:
        try:
            claims = jwt.verify(self.jobs, token) if self.jobs else {}
        except ValueError:
            return False
        return claims.get("aud") == self.issuer.service and claims["exp"] > self.issuer.clock()

    def _grant(self, user: str, asked: Mapping[str, list[str]]) -> dict[str, Any]:
        if _first(asked, "service") != self.issuer.service:
            raise Refused(400, "invalid_request", f"service must be {self.issuer.service!r}")
        try:
            scopes = parse(asked.get("scope", []))
        except ValueError as error:
            raise Refused(400, "invalid_scope", str(error)) from error
        account = self.accounts.get(user)
        granted = [account.cut(scope) for scope in scopes] if account else []
        granted = [scope for scope in granted if scope.actions]
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.issuer.clock()))
        return {
            "access_token": self.issuer.sign(user, granted),
            "scope": " ".join(map(str, granted)),
            "expires_in": self.issuer.lifetime,
            "issued_at": issued,
        }

    def _remember(self, user: str) -> str:
        token = secrets.token_urlsafe(32)
        self._refresh[token] = user
        return token


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Refused(401, "invalid_client", f"authentication scheme {scheme!r} is not served")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refused(401, "invalid_client", "malformed basic authentication") from error
    return user, password


def _first(values: Mapping[str, list[str]], name: str) -> str:
    return values.get(name, [""])[0]


class _Connection(jwt.JsonConnection):
    service: TokenService

    def do_GET(self) -> None:  # noqa: N802 (http.server calls it so)
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self._reply(Answer(status=200, body={}))
        elif url.path == "/token":
            self._reply(self.service.get(parse_qs(url.query), self.headers.get("Authorization", "")))
        else:
            self._reply(Answer(status=404, body={"error": "not_found"}))

    def do_POST(self) -> None:  # noqa: N802 (http.server calls it so)
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LARGEST_FORM:
            self.close_connection = True
            self._reply(Answer(status=413, body={"error": "invalid_request"}))
            return
        form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        known = urlsplit(self.path).path == "/token"
        self._reply(self.service.post(form) if known else Answer(status=404, body={"error": "not_found"}))

    def _reply(self, answer: Answer) -> None:
        self.reply(answer.status, answer.body)


def read_service(config: Mapping[str, Any]) -> TokenService:
    """Create the service from its configuration (written by `devcluster.registry`); reads the named files."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    key = load_pem_private_key(Path(config["signing_key"]).read_bytes(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ValueError(f"{config['signing_key']}: tokens are signed with ES256, which wants a P-256 key")
    certificate = x509.load_pem_x509_certificate(Path(config["signing_certificate"]).read_bytes())
    issuer = Issuer(
        name=config["issuer"],
        service=config["service"],
        key=key,
        certificate=certificate.public_bytes(Encoding.DER),
        lifetime=config["lifetime"],
    )
    accounts = {
        name: Account(
            password=Secret(account["password"]),
            grants={pattern: frozenset(actions) for pattern, actions in account["grants"].items()},
        )
        for name, account in config["accounts"].items()
    }
    jobs = x509.load_pem_x509_certificate(Path(config["jobs"]).read_bytes()).public_key()
    assert isinstance(jobs, EllipticCurvePublicKey)
    return TokenService(issuer=issuer, accounts=accounts, jobs=jobs)


if __name__ == "__main__":
    configuration = json.loads(Path(sys.argv[1]).read_text())
    jwt.serve(configuration, type("Connection", (_Connection,), {"service": read_service(configuration)}))
