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
def connect(tmp_path: Path, service: Registry) -> Iterator[Connect]:
    """Tokens for logins; those for ``r.io`` are for the served registry, which is its own token service."""
    opened: list[RegistryTokens] = []

    def make(logins: dict[tuple[str, str], Login], trust: Trust | None = None) -> RegistryTokens:
        logins = {
            (host if trust else host.replace("r.io", service.address), path): one
            for (host, path), one in logins.items()
        }
        store = CredentialStore([DockerConfig(origin="test", auths=logins, helpers={}, store="")], env={})
        opened.append(RegistryTokens(store, folder=tmp_path, trust=lambda: trust or Trust(plain=frozenset({"r.io"}))))
        return opened[-1]

    yield make
    for tokens in opened:
        tokens.close()


def fetch(tokens: RegistryTokens, service: Registry, *scopes: str, realm: str = "", host: str = "") -> Token:
    realm = realm or f"http://{service.address}/token"
    return tokens.fetch(TokenRequest(host=host or service.address, realm=realm, service="s", scopes=scopes or (PULL,)))


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
    with pytest.raises(RegistryError, match=r"^127\.0\.0\.1:\d+ refuses the .*; log in to 127\.0\.0\.1:") as caught:
        fetch(connect({("r.io", ""): login}), service)
    assert "s3cret" not in str(caught.value)
    assert "r3fresh" not in str(caught.value)


def test_a_service_that_only_the_builder_reaches(service: Registry, connect: Connect) -> None:
    tokens = connect({}, Trust())
    with pytest.raises(RegistryError, match=r"no answer from .*if only the builder reaches .*BUILDKIT_NO_CLIENT_TOKEN"):
        tokens.fetch(TokenRequest(host="r.io", realm="http://127.0.0.1:1/token", service="", scopes=()))


@pytest.mark.parametrize(
    "realm",
    [
        *(
            "file:///etc/passwd",
            "token",
            "ftp://x/",
            "https://u@x/",
            "https:\\\\x",
            "https://x:y/",
            "https://x /",
            "https://\u2025/",
        ),
    ],
)
def test_realms_that_are_none(service: Registry, connect: Connect, realm: str) -> None:
    with pytest.raises(RegistryError, match=r"r\.io names no usable token service"):
        fetch(connect({}), service, realm=realm, host="r.io")


@pytest.mark.parametrize("scheme", ["http", "HTTP", "hTTp"])
def test_a_login_is_not_sent_in_clear(service: Registry, connect: Connect, scheme: str) -> None:
    with pytest.raises(RegistryError, match="without TLS"):
        fetch(connect({("r.io", ""): LOGIN}, Trust()), service, realm=f"{scheme}://{service.address}/", host="r.io")
    assert service.asked == []


def test_a_token_service_elsewhere_is_the_one_that_the_registry_names(service: Registry, connect: Connect) -> None:
    tokens = connect({("r.io", ""): LOGIN})
    with scripted() as elsewhere:
        realm = f"http://{elsewhere.address}/token"
        elsewhere.on(f"GET /token?{QUERY}&account=me", GIVEN)
        service.on("GET /v2/", Reply(401, headers={"WWW-Authenticate": f'Bearer realm="HTTP://{elsewhere.address}/x"'}))
        for _ in range(2):
            assert fetch(tokens, service, realm=realm).value == Secret("t")
        assert [line for line, _ in service.asked] == ["GET /v2/"]


@pytest.mark.parametrize(
    "reply", [Reply(200), Reply(401, headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:9/"'})]
)
def test_buildkitd_does_not_choose_where_a_login_goes(service: Registry, connect: Connect, reply: Reply) -> None:
    tokens = connect({("r.io", ""): LOGIN})
    service.on("GET /v2/", reply)
    with scripted() as elsewhere:
        with pytest.raises(RegistryError, match="is not the token service that"):
            fetch(tokens, service, realm=f"http://{elsewhere.address}/token")
        assert elsewhere.asked == []
    assert [headers.get("Authorization") for _, headers in service.asked] == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_take_the_password_along(service: Registry, connect: Connect, status: int) -> None:
    with scripted() as elsewhere:
        there = {"Location": f"http://{elsewhere.address}/token"}
        service.on(f"GET /token?{QUERY}&account=me", Reply(404))
        service.on("POST /token", Reply(status, headers=there))
        with pytest.raises(RegistryError, match=f"status {status}"):
            fetch(connect({("r.io", ""): LOGIN}), service)
        service.on(f"GET /token?{QUERY}&account=me", Reply(status, headers=there))
        elsewhere.on("GET /token", GIVEN)
        fetch(connect({("r.io", ""): LOGIN}), service)
        assert [headers.get("Authorization") for _, headers in elsewhere.asked] == [None]


def test_who_has_no_login_needs_no_seed(connect: Connect, tmp_path: Path) -> None:
    tokens = connect({("r.io", ""): LOGIN}, Trust())
    assert tokens.seed("other.io") == Secret(b"")
    assert list(tmp_path.iterdir()) == []
    assert len(tokens.seed("r.io")) == 16
    assert tokens.seed("r.io") == tokens.seed("r.io")
