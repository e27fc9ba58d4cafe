"""The token authority, over the wire; the keys are those that Go makes."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.session import auth
from ci_buildx.session.auth import (
    FETCH_TOKEN_REQUEST,
    FETCH_TOKEN_RESPONSE,
    GET_TOKEN_AUTHORITY_REQUEST,
    TOKEN_AUTHORITY_RESPONSE,
    VERIFY_TOKEN_AUTHORITY_REQUEST,
    AuthService,
    FetchTokenRequest,
    FetchTokenResponse,
    TokenAuthorityRequest,
    TokenAuthorityResponse,
    TokenRequest,
)
from ci_buildx.session.call import GrpcStatus
from ci_buildx.wire.protobuf import MessageSchema
from tests.unit.session.conversation import Conversation

SERVICE = "/moby.filesync.v1.Auth/"
SALT = bytes(range(32))
SEED = Secret("0123456789abcdef")

# Made with Go: crypto/hmac, crypto/ed25519 and golang.org/x/crypto/nacl/sign, as BuildKit puts them together.
KEY = "e8fc5aa623ea69e8e91f30d0d1c6ae53c1d4b87660865a2108bb4879071d2603"
SIGNED = (
    "de96d538fb3c0253dcdad6322836fb328623ec35904c6ec2ad3bbde281805ae0"
    "5870dd8c321136831a124f6c5574c1740e0c9f93668af6304663828eef2af105"
)
ANONYMOUS_KEY = "040621616cad1cec87d58de663a3da915dc2bf8afbd0bd361931d2c207644cc4"


@dataclass
class Token:
    value: Secret
    lifetime: float


@dataclass
class Source:
    asked: list[TokenRequest] = field(default_factory=list)
    lifetime: float = 300.0

    def fetch(self, request: TokenRequest) -> Token:
        self.asked.append(request)
        if request.host == "broken.example":
            raise RegistryError("broken.example refuses the login 'me'", fix="log in")
        return Token(Secret("t0ken"), self.lifetime)

    def find_seed(self, host: str) -> Secret:
        return SEED if host == "mine.example" else Secret(b"")


def never(host: str) -> None:
    raise AssertionError(f"the login of {host} was asked for")


def test_keys_and_signatures_are_those_of_go() -> None:
    assert auth.make_public_key(SEED, SALT).hex() == KEY
    assert auth.sign_payload(SEED, SALT, b"payload") == bytes.fromhex(SIGNED) + b"payload"
    assert auth.make_public_key(Secret(b""), SALT).hex() == ANONYMOUS_KEY


@pytest.mark.parametrize(("host", "key"), [("mine.example", KEY), ("other.example", ANONYMOUS_KEY)])
def test_the_public_key(host: str, key: str) -> None:
    asked = GET_TOKEN_AUTHORITY_REQUEST.encode(TokenAuthorityRequest(host, SALT))
    answer = Conversation(AuthService(never, Source())).ask(SERVICE + "GetTokenAuthority", asked)
    assert [TOKEN_AUTHORITY_RESPONSE.decode(message).content.hex() for message in answer.messages] == [key]


def test_a_signature() -> None:
    asked = VERIFY_TOKEN_AUTHORITY_REQUEST.encode(TokenAuthorityRequest("mine.example", SALT, b"payload"))
    answer = Conversation(AuthService(never, Source())).ask(SERVICE + "VerifyTokenAuthority", asked)
    (message,) = answer.messages
    assert TOKEN_AUTHORITY_RESPONSE.decode(message).content.hex() == SIGNED + b"payload".hex()


@pytest.mark.parametrize(("lifetime", "said"), [(300.0, 300), (59.9, 59), (0.5, 1)])
def test_a_token(lifetime: float, said: int) -> None:
    source = Source(lifetime=lifetime)
    asked = FetchTokenRequest("r.example", "https://t.example/token", "s", ("repository:a:pull", "repository:b:pull"))
    answer = Conversation(AuthService(never, source)).ask(SERVICE + "FetchToken", FETCH_TOKEN_REQUEST.encode(asked))
    assert [FETCH_TOKEN_RESPONSE.decode(message) for message in answer.messages] == [FetchTokenResponse("t0ken", said)]
    assert source.asked == [
        TokenRequest(host="r.example", realm="https://t.example/token", service="s", scopes=asked.scopes)
    ]


def test_the_reason_why_there_is_no_token() -> None:
    asked = FETCH_TOKEN_REQUEST.encode(FetchTokenRequest("broken.example"))
    answer = Conversation(AuthService(never, Source())).ask(SERVICE + "FetchToken", asked)
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert answer.trailers["grpc-message"] == "broken.example refuses the login 'me'; log in"


def test_a_malformed_request() -> None:
    answer = Conversation(AuthService(never, Source())).ask(SERVICE + "FetchToken", b"\xff")
    assert answer.status == str(int(GrpcStatus.INVALID_ARGUMENT))


def test_without_a_source_there_is_no_authority() -> None:
    answer = Conversation(AuthService(lambda _: None)).ask(SERVICE + "GetTokenAuthority", b"")
    assert answer.status == str(int(GrpcStatus.UNIMPLEMENTED))


@pytest.mark.parametrize(
    ("name", "ours", "value", "fields"),
    [
        (
            "FetchTokenRequest",
            FETCH_TOKEN_REQUEST,
            FetchTokenRequest("h", "r", "s", ("a", "b")),
            {"host": "h", "realm": "r", "service": "s", "scopes": ["a", "b"]},
        ),
        ("FetchTokenResponse", FETCH_TOKEN_RESPONSE, FetchTokenResponse("t", 7), {"token": "t", "expires_in": 7}),
        (
            "GetTokenAuthorityRequest",
            GET_TOKEN_AUTHORITY_REQUEST,
            TokenAuthorityRequest("h", b"s"),
            {"host": "h", "salt": b"s"},
        ),
        (
            "VerifyTokenAuthorityRequest",
            VERIFY_TOKEN_AUTHORITY_REQUEST,
            TokenAuthorityRequest("h", b"s", b"p"),
            {"host": "h", "salt": b"s", "payload": b"p"},
        ),
        ("TokenAuthorityResponse", TOKEN_AUTHORITY_RESPONSE, TokenAuthorityResponse(b"c"), {"content": b"c"}),
    ],
)
def test_the_messages_are_those_of_the_definition(
    session_proto: Any, name: str, ours: MessageSchema[Any], value: object, fields: dict[str, Any]
) -> None:
    theirs = getattr(session_proto, name)(**fields).SerializeToString()
    assert ours.encode(value) == theirs
    assert ours.decode(theirs) == value
