"""Messages of the session's services, defined in ``session.proto``."""

from __future__ import annotations

from ci_buildx.model.record import dataclass
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
