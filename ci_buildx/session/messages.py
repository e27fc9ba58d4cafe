"""Messages of the session's services; ``session.proto`` is their definition."""

from __future__ import annotations

from typing import NamedTuple

from ci_buildx.protobuf.schema import BYTES, INTEGER, TEXT, Schema, many, one


class CredentialsRequest(NamedTuple):
    """A registry's host, as containerd's resolver names it."""

    host: str = ""


class CredentialsResponse(NamedTuple):
    """Both empty for anonymous access; an identity token comes as ``secret`` without a ``username``."""

    username: str = ""
    secret: str = ""


class FetchTokenRequest(NamedTuple):
    """What a registry's challenge asks for."""

    host: str = ""
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


class FetchTokenResponse(NamedTuple):
    """The token and the seconds it lives. Without the time of its issue it counts from its arrival."""

    token: str = ""
    expires_in: int = 0


class TokenAuthorityRequest(NamedTuple):
    """Asks for the key for a host, or for a signature with it; ``payload`` is empty for the key."""

    host: str = ""
    salt: bytes = b""
    payload: bytes = b""


class TokenAuthorityResponse(NamedTuple):
    """The public key, or the signed payload."""

    content: bytes = b""


class GetSecretRequest(NamedTuple):
    """The ``id`` of ``RUN --mount=type=secret``."""

    id: str = ""


class GetSecretResponse(NamedTuple):
    """The secret itself."""

    value: bytes = b""


CREDENTIALS_REQUEST = Schema(CredentialsRequest, one(1, "host", TEXT))
CREDENTIALS_RESPONSE = Schema(CredentialsResponse, one(1, "username", TEXT), one(2, "secret", TEXT))
FETCH_TOKEN_REQUEST = Schema(
    FetchTokenRequest,
    one(2, "host", TEXT),
    one(3, "realm", TEXT),
    one(4, "service", TEXT),
    many(5, "scopes", TEXT),
)
FETCH_TOKEN_RESPONSE = Schema(FetchTokenResponse, one(1, "token", TEXT), one(2, "expires_in", INTEGER))
GET_TOKEN_AUTHORITY_REQUEST = Schema(TokenAuthorityRequest, one(1, "host", TEXT), one(2, "salt", BYTES))
VERIFY_TOKEN_AUTHORITY_REQUEST = Schema(
    TokenAuthorityRequest, one(1, "host", TEXT), one(2, "payload", BYTES), one(3, "salt", BYTES)
)
TOKEN_AUTHORITY_RESPONSE = Schema(TokenAuthorityResponse, one(1, "content", BYTES))
GET_SECRET_REQUEST = Schema(GetSecretRequest, one(1, "id", TEXT))
GET_SECRET_RESPONSE = Schema(GetSecretResponse, one(1, "value", BYTES))
