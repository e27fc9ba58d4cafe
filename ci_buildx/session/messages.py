"""Messages of the session's services; ``session.proto`` is their definition."""

from __future__ import annotations

from ci_buildx.model.record import dataclass
from ci_buildx.wire.protobuf import BYTES, INTEGER, TEXT, MessageSchema, make_field, make_repeated_field


@dataclass(frozen=True, slots=True)
class CredentialsRequest:
    """A registry's host, as containerd's resolver names it."""

    host: str = ""


@dataclass(frozen=True, slots=True)
class CredentialsResponse:
    """Both empty for anonymous access; an identity token comes as ``secret`` without a ``username``."""

    username: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class FetchTokenRequest:
    """What a registry's challenge asks for."""

    host: str = ""
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchTokenResponse:
    """The token and the seconds it lives. Without the time of its issue it counts from its arrival."""

    token: str = ""
    expires_in: int = 0


@dataclass(frozen=True, slots=True)
class TokenAuthorityRequest:
    """Asks for the key for a host, or for a signature with it; ``payload`` is empty for the key."""

    host: str = ""
    salt: bytes = b""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class TokenAuthorityResponse:
    """The public key, or the signed payload."""

    content: bytes = b""


@dataclass(frozen=True, slots=True)
class GetSecretRequest:
    """The ``id`` of ``RUN --mount=type=secret``."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class GetSecretResponse:
    """The secret itself."""

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
