"""URLs that a registry names and no parser takes, and files of authorities that do not exist: one line."""

from __future__ import annotations

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.registry.scripted import Reply, scripted

MALFORMED = "//["
DIGEST = f"sha256:{'a' * 64}"


def make_client(trust: RegistryTrust | None = None) -> RegistryClient:
    return RegistryClient(CredentialStore([], env={}), trust=trust, patience=RequestPatience(attempts=1))


def test_an_upload_location() -> None:
    with scripted() as registry, make_client() as client:
        registry.on("POST /v2/app/blobs/uploads/", Reply(202, headers={"Location": MALFORMED}))
        repository = RegistryRepository(registry.address, "app")
        with pytest.raises(RegistryError, match="returned an invalid upload location"):
            client.upload_blob(repository, DIGEST, lambda: b"")
        assert client.try_push(repository).status == 202


def test_the_next_page_of_referrers() -> None:
    with scripted() as registry, make_client() as client:
        page = Reply(200, b'{"manifests": []}', headers={"Link": f'<{MALFORMED}>; rel="next"'})
        registry.on(f"GET /v2/app/referrers/{DIGEST}", page)
        assert client.read_referrers(RegistryRepository(registry.address, "app"), DIGEST) == []


def test_authorities_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nothing/here.pem")
    secured = RegistryTrust(secured=frozenset({"127.0.0.1:1"}))
    message = "the file of certificate authorities does not exist; correct or unset REQUESTS_CA_BUNDLE or"
    with make_client(secured) as client, pytest.raises(RegistryError, match=message):
        client.read_manifest(RegistryRepository("127.0.0.1:1", "app"), "1")
