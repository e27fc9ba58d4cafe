import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.auth import AuthChallenge, AuthScheme, parse_challenge, parse_token

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/alpine:pull,push repository:x/y:pull"'
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            HUB,
            AuthChallenge(
                scheme=AuthScheme.BEARER,
                realm="https://auth.docker.io/token",
                service="registry.docker.io",
                scopes=("repository:library/alpine:pull,push", "repository:x/y:pull"),
            ),
        ),
        ('Basic realm="Registry Realm"', AuthChallenge(scheme=AuthScheme.BASIC)),
        ("basic", AuthChallenge(scheme=AuthScheme.BASIC)),
        ('Basic realm="x", Bearer realm="https://t"', AuthChallenge(scheme=AuthScheme.BEARER, realm="https://t")),
        ('Negotiate, BEARER REALM = "https://t\\"q"', AuthChallenge(scheme=AuthScheme.BEARER, realm='https://t"q')),
        ("Bearer realm=https", None),
        ("Bearer", None),
        ("Digest realm=x", None),
        ("", None),
    ],
)
def test_parse_challenge(header: str, expected: AuthChallenge | None) -> None:
    if expected is None:
        with pytest.raises(RegistryError):
            parse_challenge(header)
    else:
        assert parse_challenge(header) == expected


@given(st.text() | st.lists(st.sampled_from([*'", =\\', "Basic", "Bearer", "realm", "https://x"])).map("".join))
def test_any_header_is_a_challenge_or_an_error(header: str) -> None:
    with suppress(RegistryError):
        parse_challenge(header)


def test_a_hostile_header_is_read_in_time() -> None:
    for header in (" " * 100_000, "Bearer " + 'a="' * 30_000, "Bearer " + "," * 100_000):
        with pytest.raises(RegistryError):
            parse_challenge(header)


@pytest.mark.parametrize(
    ("answer", "value", "lifetime"),
    [
        ({"token": "t", "expires_in": 300}, "t", 300.0),
        ({"access_token": "a"}, "a", 60.0),
        ({"token": "t", "access_token": "a", "expires_in": "soon"}, "t", 60.0),
        ({"token": "t", "expires_in": -1}, "t", 60.0),
    ],
)
def test_parse_token(answer: object, value: str, lifetime: float) -> None:
    token = parse_token(json.dumps(answer).encode())
    assert (token.value, token.lifetime) == (Secret(value), lifetime)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}', b'{"token": ""}', b"\xff"])
def test_no_token(body: bytes) -> None:
    with pytest.raises(RegistryError, match="the token service returned"):
        parse_token(body)


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["token", "expires_in"]), st.none() | st.floats() | st.text()).map(
        lambda answer: json.dumps(answer).encode()
    )
)
def test_any_body_is_a_token_or_an_error(body: bytes) -> None:
    with suppress(RegistryError):
        assert parse_token(body).lifetime > 0


@pytest.mark.parametrize("realm", ["http://[/", "https://", "file:///etc/passwd", ""])
def test_a_realm_that_cannot_be_asked(realm: str) -> None:
    with pytest.raises(RegistryError, match="returned an invalid token service"):
        parse_challenge(f'Bearer realm="{realm}",service=x')
