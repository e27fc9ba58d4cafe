import secrets
from collections.abc import Iterator

import pytest
import requests

from ci_buildx.model.secret import Secret
from devcluster import registry
from devcluster.layout import Cluster
from devcluster.registry import Registry
from tests.integration.devcluster.registry_client import MANIFEST, Client, digest

NAMES = ("open", "basic", "token")


def client(server: Registry, username: str | None = None, password: str | None = None) -> Client:
    return Client(
        server,
        server.username if username is None else username,
        server.password if password is None else Secret(password),
    )


@pytest.fixture
def repository() -> Iterator[str]:
    """The path of a new repository."""
    yield f"tests/registries-{secrets.token_hex(6)}"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_pushed_can_be_pulled_and_deleted(registries: dict[str, Registry], name: str, repository: str) -> None:
    mine = client(registries[name])
    blob = b'{"architecture":"amd64","os":"linux"}'
    assert mine.push_blob(repository, blob).status_code == 201
    pushed, manifest = mine.push_manifest(repository, "1", blob)
    assert pushed.status_code == 201

    pulled = mine.call("GET", f"/v2/{repository}/manifests/1", Accept=MANIFEST)
    assert (pulled.status_code, pulled.content) == (200, manifest)
    assert pulled.headers["Docker-Content-Digest"] == digest(manifest)
    assert mine.call("GET", f"/v2/{repository}/blobs/{digest(blob)}").content == blob

    assert mine.call("DELETE", f"/v2/{repository}/manifests/{digest(manifest)}").status_code == 202
    assert mine.call("GET", f"/v2/{repository}/manifests/1", Accept=MANIFEST).status_code == 404


@pytest.mark.parametrize("name", ["basic", "token"])
@pytest.mark.parametrize("username", ["", "builder", "nobody"])
def test_without_the_right_password_nothing_is_pushed(
    registries: dict[str, Registry], name: str, username: str, repository: str
) -> None:
    assert client(registries[name], username, "wrong").push_blob(repository, b"content").status_code == 401


def test_the_token_server_says_401_to_a_wrong_password(registries: dict[str, Registry]) -> None:
    server = registries["token"]
    challenge = {"realm": realm(server), "service": server.address, "scope": "repository:a/b:pull"}
    assert client(server, password="wrong").token(challenge).status_code == 401
    assert client(server).token(challenge).status_code == 200


def test_a_reader_pulls_and_cannot_push(dev_cluster: Cluster, registries: dict[str, Registry], repository: str) -> None:
    server = registries["token"]
    blob = b"{}"
    owner = client(server)
    assert owner.push_blob(repository, blob).status_code == 201
    reader = Client(server, registry.READER, registry.password(dev_cluster, registry.READER))
    assert reader.call("GET", f"/v2/{repository}/blobs/{digest(blob)}").content == blob
    refused = reader.push_blob(repository, blob)
    assert refused.status_code == 401
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


def test_a_stranger_pulls_what_is_public(registries: dict[str, Registry], repository: str) -> None:
    server = registries["token"]
    blob = b"{}"
    public = f"public/{repository}"
    assert client(server).push_blob(public, blob).status_code == 201
    stranger = client(server, "")
    refused = stranger.call("GET", f"/v2/{public}/blobs/{digest(blob)}")
    assert refused.status_code == 401
    scope = f"repository:{public}:pull"
    token = stranger.token({"realm": realm(server), "service": server.address, "scope": scope}).json()["token"]
    path = f"/v2/{public}/blobs/{digest(blob)}"
    assert stranger.call("GET", path, Authorization=f"Bearer {token}").content == blob


def test_a_refresh_token_does_in_the_passwords_stead(registries: dict[str, Registry], repository: str) -> None:
    """The way containerd and BuildKit prefer: POST first."""
    server = registries["token"]
    login = {
        "grant_type": "password",
        "username": server.username,
        "password": server.password.reveal_text(),
        "access_type": "offline",
        "client_id": "tests",
        "service": server.address,
    }
    mine = client(server, "")
    refresh = mine.session.post(realm(server), data=login, timeout=30).json()["refresh_token"]
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh,
        "client_id": "tests",
        "service": server.address,
        "scope": f"repository:{repository}:pull,push",
    }
    token = mine.session.post(realm(server), data=form, timeout=30).json()["access_token"]
    begun = mine.call("POST", f"/v2/{repository}/blobs/uploads/", Authorization=f"Bearer {token}")
    assert begun.status_code == 202


def test_the_token_server_survives_strange_requests(registries: dict[str, Registry]) -> None:
    mine = client(registries["token"])
    url = realm(registries["token"])
    assert mine.session.get(f"{url}/elsewhere", timeout=30).status_code == 404
    assert mine.session.post(f"{url}/elsewhere", data={"a": "b"}, timeout=30).status_code == 404
    assert mine.session.post(url, data=b"\xff%ff", timeout=30).status_code == 400
    assert mine.session.post(url, headers={"Content-Length": "99999999"}, timeout=30).status_code == 413
    assert mine.session.get(url.replace("/token", "/healthz"), timeout=30).status_code == 200


@pytest.mark.parametrize("name", ["basic", "token"])
def test_tls_is_verified_by_the_clusters_authority_only(registries: dict[str, Registry], name: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError):
            session.get(registries[name].ready_url, timeout=30)
        assert session.get(registries[name].ready_url, timeout=30, verify=str(registries[name].ca_file)).ok


def realm(server: Registry) -> str:
    host = server.address.rpartition(":")[0]
    return f"https://{host}:{registry.TOKEN_PORT}/token"
