"""Messages of the session's services; ``session.proto`` is their definition."""

from __future__ import annotations

from typing import NamedTuple

from ci_buildx.protobuf.schema import BYTES, TEXT, Schema, one


class CredentialsRequest(NamedTuple):
    """A registry's host, as containerd's resolver names it."""

    host: str = ""


class CredentialsResponse(NamedTuple):
    """Both empty for anonymous access; an identity token comes as ``secret`` without a ``username``."""

    username: str = ""
    secret: str = ""


class GetSecretRequest(NamedTuple):
    """The ``id`` of ``RUN --mount=type=secret``."""

    id: str = ""


class GetSecretResponse(NamedTuple):
    """The secret itself."""

    value: bytes = b""


CREDENTIALS_REQUEST = Schema(CredentialsRequest, one(1, "host", TEXT))
CREDENTIALS_RESPONSE = Schema(CredentialsResponse, one(1, "username", TEXT), one(2, "secret", TEXT))
GET_SECRET_REQUEST = Schema(GetSecretRequest, one(1, "id", TEXT))
GET_SECRET_RESPONSE = Schema(GetSecretResponse, one(1, "value", BYTES))
