import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.dockerconfig import DockerConfig, Login
from ci_buildx.registry.tokens import RegistryTokens
from ci_buildx.registry.trust import Trust
from ci_buildx.session.tokens import Token, TokenRequest
from tests.unit.registry.scripted import Registry, Reply, scripted

LOGIN = Login(username="me", secret=Secret("s3cret"))
IDENTITY = Login(username="", secret=Secret(""), identity_token=Secret("r3fresh"))
PULL = "repository:group/name:pull"
QUERY = "service=s&scope=repository%3Agroup%2Fname%3Apull"
GIVEN = Reply(body=json.dumps({"token": "t", "expires_in": 120}).encode())

Connect = Callable[..., RegistryTokens]


@pytest.fixture
def service() -> Iterator[Registry]:
    with scripted() as served:
        yield served


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    opened: list[RegistryTokens] = []

    def make(logins: dict[tuple[str, str], Login], trust: Trust | None = None) -> RegistryTokens:
        store = CredentialStore([DockerConfig(origin="test", auths=logins, helpers={}, store="")], env={})
        opened.append(RegistryTokens(store, folder=tmp_path, trust=lambda: trust or Trust(plain=frozenset({"r.io"}))))
        return opened[-1]

    yield make
    for tokens in opened:
        tokens.close()


def fetch(tokens: RegistryTokens, service: Registry, *scopes: str, realm: str = "") -> Token:
    realm = realm or f"http://{service.address}/token"
    return tokens.fetch(TokenRequest(host="r.io", realm=realm, service="s", scopes=scopes or (PULL,)))


@pytest.mark.parametrize(
    ("logins", "request_line", "authorization"),
    [
        ({}, f"GET /token?{QUERY}", None),
        ({("r.io", ""): LOGIN}, f"GET /token?{QUERY}&account=me", "Basic bWU6czNjcmV0"),
        ({("r.io", "group"): LOGIN}, f"GET /token?{QUERY}&account=me", "Basic bWU6czNjcmV0"),
        ({("r.io", ""): IDENTITY}, "POST /token", None),
    ],
)
def test_a_token(
    service: Registry,
    connect: Connect,
    logins: dict[tuple[str, str], Login],
    request_line: str,
    authorization: str | None,
) -> None:
    service.on(request_line, GIVEN)
    token = fetch(connect(logins), service)
    assert (token.value, token.lifetime) == (Secret("t"), 120.0)
    assert [headers.get("Authorization") for _, headers in service.asked] == [authorization]


@pytest.mark.parametrize("status", [404, 405])
def test_a_service_that_knows_post_only(service: Registry, connect: Connect, status: int) -> None:
    service.on(f"GET /token?{QUERY}&account=me", Reply(status))
    service.on("POST /token", GIVEN)
    assert fetch(connect({("r.io", ""): LOGIN}), service).value == Secret("t")
    (form,) = [parse_qs(body.decode()) for line, body in service.bodies if line == "POST /token"]
    assert form == {
        "service": ["s"],
        "client_id": ["kube-builder"],
        "scope": [PULL],
        "grant_type": ["password"],
        "username": ["me"],
        "password": ["s3cret"],
    }


def test_the_login_of_the_repository_that_is_pushed_to(service: Registry, connect: Connect) -> None:
    other = Login(username="other", secret=Secret("x"))
    tokens = connect({("r.io", "a"): other, ("r.io", "z"): LOGIN})
    scopes = "scope=repository%3Aa%2Fx%3Apull&scope=repository%3Az%2Fy%3Apull%2Cpush"
    service.on(f"GET /token?service=s&{scopes}&account=me", GIVEN)
    assert fetch(tokens, service, "repository:a/x:pull", "repository:z/y:pull,push").value == Secret("t")


@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
def test_a_refused_login_is_one_line(service: Registry, connect: Connect, login: Login) -> None:
    service.on(f"GET /token?{QUERY}&account=me", Reply(401))
    service.on("POST /token", Reply(401))
    with pytest.raises(RegistryError, match=r"^r\.io refuses the .*; log in to r\.io") as caught:
        fetch(connect({("r.io", ""): login}), service)
    assert "s3cret" not in str(caught.value)
    assert "r3fresh" not in str(caught.value)


def test_a_service_that_only_the_builder_reaches(service: Registry, connect: Connect) -> None:
    tokens = connect({}, Trust())
    with pytest.raises(RegistryError, match=r"no answer from .*if only the builder reaches .*BUILDKIT_NO_CLIENT_TOKEN"):
        tokens.fetch(TokenRequest(host="r.io", realm="http://127.0.0.1:1/token", service="", scopes=()))


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "token", "ftp://x/"])
def test_realms_that_are_none(service: Registry, connect: Connect, realm: str) -> None:
    with pytest.raises(RegistryError, match=r"r\.io names no usable token service"):
        fetch(connect({}), service, realm=realm)


def test_a_login_is_not_sent_in_clear(service: Registry, connect: Connect) -> None:
    with pytest.raises(RegistryError, match="without TLS"):
        fetch(connect({("r.io", ""): LOGIN}, Trust()), service)
    assert service.asked == []


def test_who_has_no_login_needs_no_seed(connect: Connect, tmp_path: Path) -> None:
    tokens = connect({("r.io", ""): LOGIN})
    assert tokens.seed("other.io") == Secret(b"")
    assert list(tmp_path.iterdir()) == []
    assert len(tokens.seed("r.io")) == 16
    assert tokens.seed("r.io") == tokens.seed("r.io")
