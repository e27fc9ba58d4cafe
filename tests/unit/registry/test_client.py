import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.auth import RegistryAccess, RegistryAuthorizer
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.connection import RegistryConnection, RequestPatience
from ci_buildx.registry.content import LARGEST_MANIFEST, OCI_INDEX, compute_digest
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.registry.scripted import Registry, Reply, scripted

INDEX = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
TAG = "GET /v2/group/name/manifests/tag"
SCOPE = "repository%3Agroup%2Fname%3Apull"
LOGIN = RegistryLogin(username="me", secret=Secret("s3cret"))

Connect = Callable[..., RegistryClient]


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that the client waited, in order."""
    return []


@pytest.fixture
def connect(registry: Registry, pauses: list[float]) -> Iterator[Connect]:
    """Makes clients of ``registry``, with or without a login."""
    with ExitStack() as stack:

        def make(login: RegistryLogin | None = None) -> RegistryClient:
            auths = {(registry.address, ""): login} if login else {}
            store = CredentialStore([DockerConfig(origin="test", auths=auths, helpers={}, store="")], env={})
            patience = RequestPatience(sleep=pauses.append, jitter=lambda: 0.5)
            return stack.enter_context(RegistryClient(store, patience=patience))

        yield make


def read(client: RegistryClient, registry: Registry, name: str = "tag") -> bytes:
    return client.read_manifest(RegistryRepository(registry.address, "group/name"), name).body


def bearer(registry: Registry) -> Reply:
    challenge = f'Bearer realm="http://{registry.address}/token",service="s"'
    return Reply(401, headers={"WWW-Authenticate": challenge})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_it_tries_again(registry: Registry, connect: Connect, pauses: list[float], status: int) -> None:
    registry.on(TAG, Reply(status), Reply(status), Reply(body=INDEX))
    assert read(connect(), registry) == INDEX
    assert pauses == [0.25, 0.5]


def test_the_registry_says_when(registry: Registry, connect: Connect, pauses: list[float]) -> None:
    limit = Reply(429, headers={"Retry-After": "7"})
    registry.on(TAG, limit, Reply(503, headers={"Retry-After": "86400"}), Reply(body=INDEX))
    read(connect(), registry)
    assert pauses == [7.0, 20.0]


def test_an_answer_that_breaks_off_is_asked_for_again(registry: Registry, connect: Connect) -> None:
    registry.on(TAG, Reply(body=INDEX[:5], length=len(INDEX)), Reply(body=INDEX))
    assert read(connect(), registry) == INDEX


def test_patience_ends(registry: Registry, connect: Connect, pauses: list[float]) -> None:
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "pull\nlimit"}]}).encode()
    registry.on(TAG, Reply(429, body=body))
    with pytest.raises(
        RegistryError, match="status 429: TOOMANYREQUESTS: pull limit; log in or wait: its rate limit"
    ) as caught:
        read(connect(), registry)
    assert caught.value.status == 429
    assert (registry.count(TAG), len(pauses)) == (5, 4)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"errors": []}', b'{"errors": [1]}', b'{"errors": {"a": 1}}']
)
def test_a_refusal_without_a_reason(registry: Registry, connect: Connect, body: bytes) -> None:
    registry.on(TAG, Reply(403, body=body))
    with pytest.raises(
        RegistryError, match=r"failed with status 403: Forbidden; the login for .* has insufficient permissions"
    ):
        read(connect(), registry)


def test_a_manifest_that_is_missing_is_named_as_in_a_reference(registry: Registry, connect: Connect) -> None:
    digest = f"sha256:{0:064x}"
    registry.on(f"GET /v2/team/app/manifests/{digest}", Reply(404))
    with (
        connect() as client,
        pytest.raises(RegistryError, match=f"reading {registry.address}/team/app@{digest} failed"),
    ):
        client.read_manifest(RegistryRepository(registry.address, "team/app"), digest)


def test_nobody_answers(registry: Registry, connect: Connect) -> None:
    with pytest.raises(RegistryError, match=r"no answer from 127\.0\.0\.1:1: Connection refused"):
        connect().ping("127.0.0.1:1")


def test_too_much_is_not_read(registry: Registry, connect: Connect) -> None:
    registry.on(TAG, Reply(body=b" " * (LARGEST_MANIFEST + 1)))
    with pytest.raises(
        RegistryError, match=f"sent more than {LARGEST_MANIFEST} bytes for /v2/group/name/manifests/tag"
    ):
        read(connect(), registry)


def test_content_must_be_what_was_asked_for(registry: Registry, connect: Connect) -> None:
    digest = compute_digest(b"other")
    registry.on(f"GET /v2/group/name/manifests/{digest}", Reply(body=INDEX))
    with pytest.raises(RegistryError, match=f"returned content that does not match {digest}"):
        read(connect(), registry, digest)


def test_a_token_is_kept_and_renewed_once(registry: Registry, connect: Connect) -> None:
    fetch = f"GET /token?service=s&scope={SCOPE}&account=me"
    registry.on(fetch, *(Reply(body=json.dumps({"token": f"t{number}"}).encode()) for number in (1, 2)))
    registry.on(TAG, bearer(registry), Reply(body=INDEX), Reply(body=INDEX), bearer(registry), Reply(body=INDEX))
    client = connect(LOGIN)
    for _ in range(3):
        read(client, registry)
    assert registry.count(fetch) == 2
    sent = [headers.get("Authorization") for line, headers in registry.asked if line == TAG]
    assert sent == [None, "Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]


def test_an_identity_token_is_sent_by_post(registry: Registry, connect: Connect) -> None:
    registry.on("POST /token", Reply(body=b'{"access_token": "t"}'))
    registry.on(TAG, bearer(registry), Reply(body=INDEX))
    login = RegistryLogin(username="", secret=Secret(""), identity_token=Secret("refresh"))
    assert read(connect(login), registry) == INDEX


def test_a_refused_token_is_final(registry: Registry, connect: Connect) -> None:
    registry.on(f"GET /token?service=s&scope={SCOPE}&account=me", Reply(body=b'{"token": "t"}'))
    registry.on(TAG, bearer(registry))
    with pytest.raises(RegistryError, match=r"status 401: Unauthorized; the login .* is missing or wrong"):
        read(connect(LOGIN), registry)
    assert registry.count(TAG) == 2


def test_a_login_is_not_sent_in_clear() -> None:
    config = DockerConfig(origin="test", auths={("r.example", ""): LOGIN}, helpers={}, store="")
    authorizer = RegistryAuthorizer(CredentialStore([config], env={}), RegistryConnection(RegistryTrust()))
    access = RegistryAccess(host="r.example")
    authorizer.accept_challenge(access, 'Bearer realm="http://tokens.example/token"')
    with pytest.raises(RegistryError, match=r"requests the login without TLS at http://tokens\.example"):
        authorizer.make_headers(access)


@pytest.mark.parametrize("answer", [Reply(500), Reply(body=b"{}"), Reply(401), Reply(body=b"s3cret")])
def test_errors_do_not_hold_the_login(registry: Registry, connect: Connect, answer: Reply) -> None:
    registry.on(f"GET /token?service=s&scope={SCOPE}&account=me", answer)
    registry.on(TAG, bearer(registry))
    with pytest.raises(RegistryError) as caught:
        read(connect(LOGIN), registry)
    assert "s3cret" not in str(caught.value)


class Content(io.BytesIO):
    def __len__(self) -> int:
        return len(self.getvalue())


def upload(client: RegistryClient, registry: Registry, content: bytes) -> None:
    made: Callable[[], Any] = lambda: Content(content)  # noqa: E731
    client.upload_blob(RegistryRepository(registry.address, "group/name"), compute_digest(content), made)


def test_an_upload_elsewhere_goes_without_the_login(registry: Registry, connect: Connect) -> None:
    with scripted() as storage:
        basic = Reply(401, headers={"WWW-Authenticate": "Basic"})
        begun = Reply(202, headers={"Location": f"http://{storage.address}/put?key=1"})
        put = f"PUT /put?key=1&digest={compute_digest(b'content').replace(':', '%3A')}"
        registry.on("POST /v2/group/name/blobs/uploads/", basic, begun)
        storage.on(put, Reply(201))
        upload(connect(LOGIN), registry, b"content")
        (_, headers), *_ = storage.asked
    assert "Authorization" not in headers
    assert headers["Content-Length"] == "7"
    assert registry.asked[-1][1]["Authorization"].startswith("Basic ")


def test_an_upload_is_sent_whole_again(registry: Registry, connect: Connect) -> None:
    put = f"PUT /put?digest={compute_digest(b'content').replace(':', '%3A')}"
    registry.on("POST /v2/group/name/blobs/uploads/", Reply(202, headers={"Location": "/put"}))
    registry.on(put, Reply(503), Reply(201))
    upload(connect(), registry, b"content")
    assert registry.count(put) == 2


def test_a_registry_that_changes_what_it_stores(registry: Registry, connect: Connect) -> None:
    client, repository = connect(), RegistryRepository(registry.address, "group/name")
    registry.on(TAG, Reply(body=INDEX))
    registry.on("PUT /v2/group/name/manifests/tag", Reply(201, headers={"Docker-Content-Digest": "sha256:other"}))
    with pytest.raises(RegistryError, match=r"stored sha256:.* as sha256:other"):
        client.put_manifest(repository, "tag", client.read_manifest(repository, "tag"))


def test_docker_hub_has_an_api_host_of_its_own() -> None:
    assert RegistryRepository("docker.io", "library/alpine").host == "registry-1.docker.io"
