import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.auth import RegistryAccess, RegistryAuthorizer
from ci_buildx.registry.connection import LARGEST_REDIRECT, MOST_HOSTS, REDIRECTS, RegistryConnection, RegistryRequest
from ci_buildx.registry.credentials import MOST_KNOWN, CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.realm import check_realm
from ci_buildx.registry.token_authority import RegistryTokens
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.session.auth import RegistryToken, TokenRequest
from tests.unit.registry.scripted import Registry, Reply, scripted

LOGIN = RegistryLogin(username="me", secret=Secret("s3cret"))
IDENTITY = RegistryLogin(username="", secret=Secret(""), identity_token=Secret("r3fresh"))
PULL = "repository:group/name:pull"
QUERY = "service=s&scope=repository%3Agroup%2Fname%3Apull"
GIVEN = Reply(body=json.dumps({"token": "t", "expires_in": 120}).encode())

Connect = Callable[..., RegistryTokens]


@pytest.fixture
def service() -> Iterator[Registry]:
    """A registry that answers as the test tells it."""
    with scripted() as served:
        yield served


@pytest.fixture
def connect(tmp_path: Path, service: Registry) -> Iterator[Connect]:
    """Tokens for logins; those for ``r.io`` are for the served registry, which is its own token service."""
    opened: list[RegistryTokens] = []

    def make(logins: dict[tuple[str, str], RegistryLogin], trust: RegistryTrust | None = None) -> RegistryTokens:
        logins = {
            (host if trust else host.replace("r.io", service.address), path): one
            for (host, path), one in logins.items()
        }
        store = CredentialStore([DockerConfig(origin="test", auths=logins, helpers={}, store="")], env={})
        opened.append(
            RegistryTokens(store, folder=tmp_path, trust=lambda: trust or RegistryTrust(plain=frozenset({"r.io"})))
        )
        return opened[-1]

    yield make
    for tokens in opened:
        tokens.close()


def fetch(tokens: RegistryTokens, service: Registry, *scopes: str, realm: str = "", host: str = "") -> RegistryToken:
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
    logins: dict[tuple[str, str], RegistryLogin],
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
    other = RegistryLogin(username="other", secret=Secret("x"))
    tokens = connect({("r.io", "a"): other, ("r.io", "z"): LOGIN})
    scopes = "scope=repository%3Aa%2Fx%3Apull&scope=repository%3Az%2Fy%3Apull%2Cpush"
    service.on(f"GET /token?service=s&{scopes}&account=me", GIVEN)
    assert fetch(tokens, service, "repository:a/x:pull", "repository:z/y:pull,push").value == Secret("t")


@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
def test_a_refused_login_is_one_line(service: Registry, connect: Connect, login: RegistryLogin) -> None:
    service.on(f"GET /token?{QUERY}&account=me", Reply(401))
    service.on("POST /token", Reply(401))
    with pytest.raises(RegistryError, match=r"^127\.0\.0\.1:\d+ refuses the .*; log in to 127\.0\.0\.1:") as caught:
        fetch(connect({("r.io", ""): login}), service)
    assert "s3cret" not in str(caught.value)
    assert "r3fresh" not in str(caught.value)


def test_a_service_that_only_the_builder_reaches(service: Registry, connect: Connect) -> None:
    tokens = connect({}, RegistryTrust())
    with pytest.raises(RegistryError, match=r"no answer from .*if only the builder reaches .*BUILDKIT_NO_CLIENT_TOKEN"):
        tokens.fetch(TokenRequest(host="127.0.0.1:2", realm="http://127.0.0.1:1/token", service="", scopes=()))


INSIDE = {
    "public.io": "93.184.216.34",
    "inner.corp": "10.1.2.3",
    "metadata.evil.io": "169.254.169.254",
    "here.evil.io": "127.0.0.1",
    "carrier.evil.io": "100.100.100.200",
    "six.evil.io": "fd00:ec2::254",
    "translated.evil.io": "64:ff9b::a9fe:a9fe",
    "mapped.evil.io": "::ffff:127.0.0.1",
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the test; nothing is looked up, and no proxy is asked."""

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in INSIDE:
            raise OSError("no such name")
        return [(0, 0, 0, "", (INSIDE[host], port))]

    monkeypatch.setattr("ci_buildx.registry.realm.socket.getaddrinfo", look_up)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("docker.io", "https://auth.docker.io/token"),
        ("public.io", "https://public.io:8443/token"),
        ("public.io", "HTTPS://93.184.216.34/token"),
        ("inner.corp", "https://inner.corp:8443/token"),
        ("inner.corp:5000", "https://10.9.9.9/token"),
        ("10.0.0.5", "https://192.168.0.1/token"),
        ("plain.corp", "http://public.io/token"),
        ("localhost:5000", "http://127.0.0.1:5001/token"),
        ("localhost:5000", "http://192.168.0.1/token"),
    ],
)
def test_token_services_that_registries_may_name(host: str, realm: str) -> None:
    check_realm(realm, host, RegistryTrust(plain=frozenset({"plain.corp"})))


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", ["public.io", "unknown.io", "8.8.8.8"])
@pytest.mark.parametrize(
    ("realm", "why"),
    [
        ("http://public.io/token", "without TLS"),
        ("HTTP://auth.docker.io/token", "without TLS"),
        ("http://169.254.169.254/latest/meta-data", "without TLS"),
        ("https://127.0.0.1:6443/api", "only from this machine"),
        ("https://localhost/x", "only from this machine"),
        ("https://a.localhost./x", "only from this machine"),
        ("https://0.0.0.0/x", "only from this machine"),
        ("https://[::1]/x", "only from this machine"),
        ("https://here.evil.io/x", "only from this machine"),
        ("https://mapped.evil.io/x", "only from this machine"),
        ("https://169.254.169.254/x", "only from this link"),
        ("https://metadata.evil.io/x", "only from this link"),
        ("https://translated.evil.io/x", "only from this link"),
        ("https://[fe80::1]/x", "only from this link"),
        ("https://10.0.0.1/x", "only from this network"),
        ("https://inner.corp/x", "only from this network"),
        ("https://carrier.evil.io/x", "only from this network"),
        ("https://six.evil.io/x", "only from this network"),
    ],
)
def test_token_services_that_a_public_registry_must_not_name(host: str, realm: str, why: str) -> None:
    with pytest.raises(RegistryError, match=why):
        check_realm(realm, host, RegistryTrust())


@pytest.mark.usefixtures("names")
def test_a_token_service_that_the_user_has_declared_may_be_inside() -> None:
    """Split-horizon DNS: the registry is public, its token service has an address of the network."""
    trust = RegistryTrust(mirrors=frozenset({"10.0.0.1"}))
    check_realm("https://10.0.0.1/x", "evil.io", trust)
    with pytest.raises(RegistryError, match="only from this network") as caught:
        check_realm("https://10.0.0.2/x", "evil.io", trust)
    assert "log in to evil.io" in caught.value.fix


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("realm", ["https://127.0.0.1/x", "https://169.254.169.254/x"])
def test_a_registry_of_the_network_names_none_on_this_machine_or_link(realm: str) -> None:
    with pytest.raises(RegistryError, match="is reached only from"):
        check_realm(realm, "inner.corp", RegistryTrust())


def test_without_a_login_a_public_registry_leads_nobody_here(service: Registry, connect: Connect) -> None:
    """Whether buildkitd says so or its registry does."""
    for realm in (f"http://{service.address}/token", f"https://{service.address}/token"):
        with pytest.raises(RegistryError, match=r"r\.io|no answer from r\.io"):
            fetch(connect({}, RegistryTrust()), service, realm=realm, host="r.io")
    access = RegistryAccess(host="93.184.216.34")
    authorizer = RegistryAuthorizer(CredentialStore([], env={}), RegistryConnection(RegistryTrust()))
    authorizer.accept_challenge(access, f'Bearer realm="https://{service.address}/token"')
    with pytest.raises(RegistryError, match="only from this machine"):
        authorizer.make_headers(access)
    assert service.asked == []


def test_without_a_login_buildkitd_does_not_choose_what_is_inside(service: Registry, connect: Connect) -> None:
    service.on("GET /v2/", Reply(401, headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:9/"'}))
    with scripted() as elsewhere:
        with pytest.raises(RegistryError, match="is not the token service that"):
            fetch(connect({}), service, realm=f"http://{elsewhere.address}/api")
        assert elsewhere.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1:80/admin?x=", "a b", "u@h", "r.io#", "", "x" * 300])
def test_what_is_no_host_is_not_asked(service: Registry, connect: Connect, host: str) -> None:
    tokens = connect({})
    with pytest.raises(RegistryError, match="which is not a host"):
        tokens.fetch(TokenRequest(host=host, realm=f"http://{service.address}/token", service="s", scopes=(PULL,)))
    assert service.asked == []


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("there", ["https://169.254.169.254/latest", "http://[fe80::1]/", "ftp://x/", "https://u@x/"])
def test_a_token_service_leads_nobody_inside(
    service: Registry, connect: Connect, login: RegistryLogin | None, there: str
) -> None:
    account = "&account=me" if login else ""
    service.on(f"GET /token?{QUERY}{account}", Reply(302, headers={"Location": there}))
    with pytest.raises(RegistryError, match=r"without TLS|is reached only from|invalid token service"):
        fetch(connect({("r.io", ""): login} if login else {}, None), service, host="")


def test_what_comes_with_a_redirect_is_bounded(service: Registry, connect: Connect) -> None:
    moved = {"Location": f"http://{service.address}/moved"}
    service.on("GET /moved", GIVEN)
    service.on(f"GET /token?{QUERY}", Reply(302, b"x" * LARGEST_REDIRECT, moved))
    assert fetch(connect({}), service).value == Secret("t")
    service.on(f"GET /token?{QUERY}", Reply(302, b"x" * (LARGEST_REDIRECT + 1), moved))
    with pytest.raises(RegistryError, match=f"sent more than {LARGEST_REDIRECT} bytes with a redirect"):
        fetch(connect({}), service)


def test_redirects_without_end(service: Registry, connect: Connect) -> None:
    service.on(f"GET /token?{QUERY}", Reply(302, headers={"Location": f"/token?{QUERY}"}))
    with pytest.raises(RegistryError, match=rf"no answer from .*Exceeded {REDIRECTS} redirects"):
        fetch(connect({}), service)
    assert len(service.asked) == REDIRECTS + 1


def test_hosts_without_end_take_no_memory(service: Registry) -> None:
    """buildkitd may ask for a token of any number of hosts, and of repositories there."""
    connection = RegistryConnection(RegistryTrust(plain=frozenset(f"h{number}" for number in range(3 * MOST_HOSTS))))
    for number in range(3 * MOST_HOSTS):
        request = RegistryRequest(method="GET", url=f"http://{service.address}/x", named_by=f"h{number}")
        assert connection.send(request).status == 404
        connection.find_base(f"h{number}")
    assert len(connection._sessions) <= MOST_HOSTS
    assert len(connection._schemes) <= MOST_HOSTS
    connection.close()
    store = CredentialStore([], env={})
    for number in range(MOST_KNOWN * 2):
        assert store.lookup("r.io", f"path{number}") is None
    assert len(store._known) <= MOST_KNOWN


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
    with pytest.raises(RegistryError, match=r"r\.io returned an invalid token service"):
        fetch(connect({}), service, realm=realm, host="r.io")


@pytest.mark.parametrize("scheme", ["http", "HTTP", "hTTp"])
def test_a_login_is_not_sent_in_clear(service: Registry, connect: Connect, scheme: str) -> None:
    with pytest.raises(RegistryError, match="without TLS"):
        fetch(
            connect({("r.io", ""): LOGIN}, RegistryTrust()),
            service,
            realm=f"{scheme}://{service.address}/",
            host="r.io",
        )
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
    tokens = connect({("r.io", ""): LOGIN}, RegistryTrust())
    assert tokens.find_seed("other.io") == Secret(b"")
    assert list(tmp_path.iterdir()) == []
    assert len(tokens.find_seed("r.io")) == 16
    assert tokens.find_seed("r.io") == tokens.find_seed("r.io")
