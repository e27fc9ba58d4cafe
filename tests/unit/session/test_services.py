"""Logins and secrets, over the wire."""

from dataclasses import dataclass
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.session.auth import (
    CREDENTIALS_REQUEST,
    CREDENTIALS_RESPONSE,
    GET_SECRET_REQUEST,
    GET_SECRET_RESPONSE,
    LARGEST_SECRET,
    AuthService,
    CredentialsRequest,
    CredentialsResponse,
    GetSecretRequest,
    GetSecretResponse,
    SecretsService,
)
from ci_buildx.session.call import GrpcStatus
from tests.unit.session.conversation import Conversation

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"


@dataclass
class Login:
    username: str
    secret: Secret
    identity_token: Secret | None = None


LOGINS = {
    "plain.example": Login("me", Secret("pass word")),
    "token.example": Login("<token>", Secret(""), Secret("refresh")),
}


def find(host: str) -> Login | None:
    if host == "broken.example":
        raise RegistryError("the credential program failed")
    if host == "worse.example":
        raise KeyError(host)
    return LOGINS.get(host)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("plain.example", CredentialsResponse("me", "pass word")),
        ("token.example", CredentialsResponse("", "refresh")),
        ("other.example", CredentialsResponse("", "")),
    ],
)
def test_credentials(host: str, found: CredentialsResponse) -> None:
    answer = Conversation(AuthService(find)).ask(CREDENTIALS, CREDENTIALS_REQUEST.encode(CredentialsRequest(host)))
    assert answer.status == "0"
    assert [CREDENTIALS_RESPONSE.decode(message) for message in answer.messages] == [found]


def test_credentials_that_cannot_be_found_out() -> None:
    answer = Conversation(AuthService(find)).ask(
        CREDENTIALS, CREDENTIALS_REQUEST.encode(CredentialsRequest("broken.example"))
    )
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert answer.trailers["grpc-message"] == "no credentials for broken.example: the credential program failed"


def test_tokens_are_left_to_buildkitd() -> None:
    assert AuthService(find).methods == (CREDENTIALS,)


SECRETS = SecretsService({"s": Secret(b"\x00value"), "empty": Secret(""), "large": Secret(b"x" * (LARGEST_SECRET + 1))})


@pytest.mark.parametrize(("name", "value"), [("s", b"\x00value"), ("empty", b"")])
def test_secret(name: str, value: bytes) -> None:
    answer = Conversation(SECRETS).ask(GET_SECRET, GET_SECRET_REQUEST.encode(GetSecretRequest(name)))
    assert answer.status == "0"
    assert [GET_SECRET_RESPONSE.decode(message).value for message in answer.messages] == [value]


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("missing", GrpcStatus.NOT_FOUND, "secret missing: not found"),
        (
            "large",
            GrpcStatus.INVALID_ARGUMENT,
            f"secret large has {LARGEST_SECRET + 1} bytes, more than {LARGEST_SECRET}",
        ),
    ],
)
def test_secrets_that_are_not_given(name: str, status: GrpcStatus, text: str) -> None:
    answer = Conversation(SECRETS).ask(GET_SECRET, GET_SECRET_REQUEST.encode(GetSecretRequest(name)))
    assert (answer.status, answer.trailers["grpc-message"]) == (str(int(status)), text)


def test_the_messages_are_those_of_the_definition(session_proto: Any) -> None:
    for ours, value, theirs in (
        (CREDENTIALS_REQUEST, CredentialsRequest("h"), session_proto.CredentialsRequest(host="h")),
        (
            CREDENTIALS_RESPONSE,
            CredentialsResponse("u", "s"),
            session_proto.CredentialsResponse(username="u", secret="s"),
        ),
        (GET_SECRET_REQUEST, GetSecretRequest("i"), session_proto.GetSecretRequest(id="i")),
        (GET_SECRET_RESPONSE, GetSecretResponse(b"v"), session_proto.GetSecretResponse(value=b"v")),
    ):
        assert ours.encode(value) == theirs.SerializeToString()
        assert ours.decode(theirs.SerializeToString()) == value
