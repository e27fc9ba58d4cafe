"""The attachables for credentials: registry tokens and build secrets, with their messages (``session.proto``).

Source: BuildKit 0.34.2, ``session/auth/authprovider/authprovider.go``, ``session/auth/auth.go`` and
``util/resolver/authorizer.go``. buildkitd caches each token with the public key of the client that fetched it. A later
session can reuse the token if it signs with the same key, so clients with the same seed share tokens. All clients
without a login share one key, since their tokens are the same.

Source of the secrets: BuildKit 0.34.2, ``session/secrets``: NOT_FOUND means that the secret is missing, which is an
error only if the Dockerfile says ``required``; a secret has at most 500 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret
from ci_buildx.session.call import GrpcStatus, SessionCall, Workers
from ci_buildx.wire.protobuf import BYTES, INTEGER, TEXT, MessageSchema, make_field, make_repeated_field


@dataclass(frozen=True, slots=True)
class CredentialsRequest:
    """A request for the login of a registry; ``host`` is as containerd's resolver names it."""

    host: str = ""


@dataclass(frozen=True, slots=True)
class CredentialsResponse:
    """A login. Both fields are empty for anonymous access; an identity token is a ``secret`` without ``username``."""

    username: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class FetchTokenRequest:
    """The parameters of a registry's challenge."""

    host: str = ""
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchTokenResponse:
    """A token and its lifetime in seconds, counted from its arrival because the time of issue is omitted."""

    token: str = ""
    expires_in: int = 0


@dataclass(frozen=True, slots=True)
class TokenAuthorityRequest:
    """A request for a host's public key, or for a signature with its key; ``payload`` is empty for the key."""

    host: str = ""
    salt: bytes = b""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class TokenAuthorityResponse:
    """The public key, or the signed payload."""

    content: bytes = b""


@dataclass(frozen=True, slots=True)
class GetSecretRequest:
    """A request for a secret by the ``id`` of ``RUN --mount=type=secret``."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class GetSecretResponse:
    """The value of the secret."""

    value: bytes = b""


# Tables of session.proto, written by dev/protos.py.
CREDENTIALS_REQUEST = MessageSchema(CredentialsRequest, make_field(1, "host", TEXT))
CREDENTIALS_RESPONSE = MessageSchema(
    CredentialsResponse, make_field(1, "username", TEXT), make_field(2, "secret", TEXT)
)
FETCH_TOKEN_REQUEST = MessageSchema(
    FetchTokenRequest,
    make_field(2, "host", TEXT),
    make_field(3, "realm", TEXT),
    make_field(4, "service", TEXT),
    make_repeated_field(5, "scopes", TEXT),
)
FETCH_TOKEN_RESPONSE = MessageSchema(
    FetchTokenResponse, make_field(1, "token", TEXT), make_field(2, "expires_in", INTEGER)
)
GET_TOKEN_AUTHORITY_REQUEST = MessageSchema(
    TokenAuthorityRequest, make_field(1, "host", TEXT), make_field(2, "salt", BYTES)
)
VERIFY_TOKEN_AUTHORITY_REQUEST = MessageSchema(
    TokenAuthorityRequest, make_field(1, "host", TEXT), make_field(2, "payload", BYTES), make_field(3, "salt", BYTES)
)
TOKEN_AUTHORITY_RESPONSE = MessageSchema(TokenAuthorityResponse, make_field(1, "content", BYTES))
GET_SECRET_REQUEST = MessageSchema(GetSecretRequest, make_field(1, "id", TEXT))
GET_SECRET_RESPONSE = MessageSchema(GetSecretResponse, make_field(1, "value", BYTES))
# End of the tables.


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """The parameters of a registry's challenge: ``scopes`` (``repository:group/name:pull``) from ``realm`` (a URL)."""

    host: str
    realm: str
    service: str
    scopes: tuple[str, ...]


class RegistryToken(Protocol):
    """A newly issued bearer token."""

    @property
    def value(self) -> Secret:
        """The token to send to the registry."""

    @property
    def lifetime(self) -> float:
        """The lifetime in seconds."""


class TokenSource(Protocol):
    """A source of tokens. Both methods may block and raise KubeBuilderError."""

    def fetch(self, request: TokenRequest) -> RegistryToken:
        """Fetch a token for ``request``, with the login of its host or anonymously."""

    def find_seed(self, host: str) -> Secret:
        """Return the random seed of this client's keys for ``host``; empty if there is no login."""


def make_public_key(seed: Secret, salt: bytes) -> bytes:
    """Derive the 32-byte public key that identifies the authority to buildkitd.

    buildkitd chooses a new ``salt`` each time it starts.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_make_private_key(seed, salt)).public_key().public_bytes_raw()


def sign_payload(seed: Secret, salt: bytes, payload: bytes) -> bytes:
    """Sign like NaCl's ``crypto_sign``: return the signature (Ed25519, 64 bytes), then the payload."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_make_private_key(seed, salt)).sign(payload) + payload


def _make_private_key(seed: Secret, salt: bytes) -> bytes:
    import hashlib
    import hmac

    return hmac.digest(salt, seed.reveal(), hashlib.sha256)


_LOG = debug.get_log("session")
_SERVICE = "/moby.filesync.v1.Auth/"


class SessionLogin(Protocol):
    """A login for a registry. An identity token takes precedence over user name and password."""

    @property
    def username(self) -> str:
        """The user name."""

    @property
    def secret(self) -> Secret:
        """The password."""

    @property
    def identity_token(self) -> Secret | None:
        """An OAuth2 refresh token."""


THREADS = 16
"""Maximum number of login requests that are answered at once; others wait."""

Lookup = Callable[[str], SessionLogin | None]


class AuthService:
    """Serves registry logins or tokens.

    ``lookup`` finds the login for a host. ``source`` fetches tokens; without it, logins are sent to buildkitd. If
    either raises KubeBuilderError, the pull or push fails with its text.
    """

    def __init__(self, lookup: Lookup, source: TokenSource | None = None) -> None:
        self._lookup = lookup
        self._workers = Workers("auth", limit=THREADS)
        self._answers: dict[str, Callable[[bytes], bytes]] = {_SERVICE + "Credentials": self._answer_credentials}
        if source is not None:
            authority = _TokenAuthority(source)
            self._answers |= {
                _SERVICE + "FetchToken": authority.fetch,
                _SERVICE + "GetTokenAuthority": authority.make_key,
                _SERVICE + "VerifyTokenAuthority": authority.verify,
            }

    @property
    def methods(self) -> tuple[str, ...]:
        """The paths of the served calls."""
        return tuple(self._answers)

    def accept(self, call: SessionCall) -> None:
        """Answer a call in a separate thread: it may run a program or ask a server, and block."""
        answer = self._answers[call.path]
        call.take_one(lambda message: self._workers.submit(call, lambda: call.reply(answer(message))))

    def _answer_credentials(self, message: bytes) -> bytes:
        host = CREDENTIALS_REQUEST.decode(message).host
        _LOG.debug("login: host %s", host)
        try:
            login = self._lookup(host)
        except KubeBuilderError as error:
            raise KubeBuilderError(f"no credentials for {host}: {error}") from error
        return CREDENTIALS_RESPONSE.encode(_make_response(login))


class _TokenAuthority:
    """The handlers of the token calls."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def fetch(self, message: bytes) -> bytes:
        asked = FETCH_TOKEN_REQUEST.decode(message)
        _LOG.debug("token: host %s, scopes %s", asked.host, asked.scopes)
        request = TokenRequest(host=asked.host, realm=asked.realm, service=asked.service, scopes=asked.scopes)
        token = self._source.fetch(request)
        # Omit the time of issue: buildkitd never drops a token that has already expired by its own clock.
        return FETCH_TOKEN_RESPONSE.encode(FetchTokenResponse(token.value.reveal_text(), max(1, int(token.lifetime))))

    def make_key(self, message: bytes) -> bytes:
        asked = GET_TOKEN_AUTHORITY_REQUEST.decode(message)
        _LOG.debug("key of the token authority: host %s", asked.host)
        key = make_public_key(self._source.find_seed(asked.host), asked.salt)
        return TOKEN_AUTHORITY_RESPONSE.encode(TokenAuthorityResponse(key))

    def verify(self, message: bytes) -> bytes:
        asked = VERIFY_TOKEN_AUTHORITY_REQUEST.decode(message)
        _LOG.debug("signature of the token authority: host %s", asked.host)
        signed = sign_payload(self._source.find_seed(asked.host), asked.salt, asked.payload)
        return TOKEN_AUTHORITY_RESPONSE.encode(TokenAuthorityResponse(signed))


def _make_response(login: SessionLogin | None) -> CredentialsResponse:
    if login is None:
        return CredentialsResponse()
    if login.identity_token is not None:
        return CredentialsResponse(secret=login.identity_token.reveal_text())
    return CredentialsResponse(login.username, login.secret.reveal_text())


LARGEST_SECRET = 500 * 1024


class SecretsService:
    """Serves ``secrets`` by their id."""

    methods = ("/moby.buildkit.secrets.v1.Secrets/GetSecret",)

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)

    def accept(self, call: SessionCall) -> None:
        """Answer a GetSecret call."""
        call.take_one(lambda message: self._answer(call, GET_SECRET_REQUEST.decode(message).id))

    def _answer(self, call: SessionCall, name: str) -> None:
        secret = self._secrets.get(name)
        _LOG.debug("secret: id %r%s", name, "" if secret is not None else ", not found")
        if secret is None:
            call.finish(GrpcStatus.NOT_FOUND, f"secret {name}: not found")
        elif len(secret) > LARGEST_SECRET:
            call.finish(
                GrpcStatus.INVALID_ARGUMENT, f"secret {name} has {len(secret)} bytes, more than {LARGEST_SECRET}"
            )
        else:
            call.reply(GET_SECRET_RESPONSE.encode(GetSecretResponse(secret.reveal())))
