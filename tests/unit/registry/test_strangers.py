"""A host that a registry redirects to is a stranger: it gets no login, and its challenges are not the registry's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.content import compute_digest
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.token_authority import RegistryTokens
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.session.auth import TokenRequest
from tests.unit.registry.scripted import Registry, Reply, scripted

TAG = "/v2/group/name/manifests/tag"
LOGIN = RegistryLogin(username="me", secret=Secret("s3cret-of-the-registry"))
BASIC = b64encode(b"me:s3cret-of-the-registry").decode()


@pytest.fixture
def stranger() -> Iterator[Registry]:
    """Another server, to which the registry leads the client."""
    with scripted() as served:
        yield served


def connect(*logins: tuple[Registry, RegistryLogin]) -> RegistryClient:
    auths = {(served.address, ""): login for served, login in logins}
    store = CredentialStore([DockerConfig(origin="test", auths=auths, helpers={}, store="")], env={})
    return RegistryClient(store, trust=RegistryTrust(), patience=RequestPatience(attempts=1))


def sent_to(served: Registry) -> str:
    return repr([(line, headers) for line, headers in served.asked]) + repr(served.bodies)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("challenge", ['Bearer realm="http://{}/token",service="s"', 'Basic realm="x"'])
def test_a_strangers_challenge_gets_no_login(
    registry: Registry, stranger: Registry, status: int, challenge: str
) -> None:
    registry.on(f"GET {TAG}", Reply(status, headers={"Location": f"http://{stranger.address}/evil"}))
    asked = {"WWW-Authenticate": challenge.format(stranger.address)}
    stranger.on("GET /evil", Reply(401, headers=asked))
    with connect((registry, LOGIN)) as client, pytest.raises(RegistryError, match="requires separate authentication"):
        client.read_manifest(RegistryRepository(registry.address, "group/name"), "tag")
    assert stranger.asked
    for text in (BASIC, "s3cret", "account=me"):
        assert text not in sent_to(stranger)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_stranger_names_no_token_service_for_buildkitds_question(
    registry: Registry, stranger: Registry, status: int, tmp_path: Path
) -> None:
    registry.on("GET /v2/", Reply(status, headers={"Location": f"http://{stranger.address}/v2/"}))
    realm = f"http://{stranger.address}/token"
    stranger.on("GET /v2/", Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}))
    config = DockerConfig(origin="test", auths={(registry.address, ""): LOGIN}, helpers={}, store="")
    tokens = RegistryTokens(CredentialStore([config], env={}), folder=tmp_path, trust=RegistryTrust)
    try:
        with pytest.raises(RegistryError, match="is not the token service that"):
            tokens.fetch(TokenRequest(host=registry.address, realm=realm, service="s", scopes=()))
    finally:
        tokens.close()
    assert [line for line, _ in stranger.asked] == ["GET /v2/"]
    assert BASIC not in sent_to(stranger)


def test_an_upload_that_a_stranger_takes_gets_no_login(registry: Registry, stranger: Registry) -> None:
    content = b"layer"
    digest = compute_digest(content)
    begun = Reply(202, headers={"Location": f"http://{stranger.address}/upload"})
    registry.on("POST /v2/group/name/blobs/uploads/", Reply(401, headers={"WWW-Authenticate": "Basic realm=x"}), begun)
    asked = {"WWW-Authenticate": f'Bearer realm="http://{stranger.address}/token",service="s"'}
    stranger.on(f"PUT /upload?digest={digest.replace(':', '%3A')}", Reply(401, headers=asked))
    with connect((registry, LOGIN)) as client, pytest.raises(RegistryError, match="status 401"):
        client.upload_blob(RegistryRepository(registry.address, "group/name"), digest, lambda: content)
    assert [line.partition("?")[0] for line, _ in stranger.asked] == ["PUT /upload"]
    assert BASIC not in sent_to(stranger)
