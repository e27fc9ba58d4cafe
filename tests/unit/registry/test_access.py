"""What a registry refuses for certain is known before a build; everything else lets it go on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.reference import ImageReference, parse_reference
from ci_buildx.model.secret import Secret
from ci_buildx.registry.access import find_refusal, list_platforms
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from tests.unit.registry.scripted import Registry, Reply

UPLOADS = "/v2/team/app/blobs/uploads/"
MANIFEST = "/v2/team/base/manifests/1"
LOGIN = RegistryLogin(username="me", secret=Secret("s3cret"))


def refusal(code: str, message: str = "no") -> bytes:
    """The body of a registry's error."""
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def basic(status: int = 401, code: str = "UNAUTHORIZED") -> Reply:
    return Reply(status, refusal(code), {"WWW-Authenticate": 'Basic realm="r"'})


def bearer(registry: Registry, code: str = "UNAUTHORIZED") -> Reply:
    challenge = f'Bearer realm="http://{registry.address}/token",service="s"'
    return Reply(401, refusal(code), {"WWW-Authenticate": challenge})


Ask = Callable[..., RegistryError | None]


@pytest.fixture
def ask(registry: Registry) -> Ask:
    """Asks for the right to push to team/app, and for the base image team/base:1."""

    def run(login: RegistryLogin | None = None, *, push: bool = True, read: bool = False) -> RegistryError | None:
        auths = {(registry.address, ""): login} if login else {}
        store = CredentialStore([DockerConfig(origin="test", auths=auths, helpers={}, store="")], env={})
        with RegistryClient(store, patience=RequestPatience(attempts=1)) as client:
            pushed = [parse_reference(f"{registry.address}/team/app:1")] if push else []
            base = [parse_reference(f"{registry.address}/team/base:1")] if read else []
            return find_refusal(client, store, pushed, base)

    return run


def test_an_upload_that_is_accepted_is_cancelled(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", Reply(202, headers={"Location": f"{UPLOADS}one?state=x"}))
    registry.on(f"DELETE {UPLOADS}one?state=x", Reply(204))
    assert ask() is None
    assert [line for line, _ in registry.asked] == [f"POST {UPLOADS}", f"DELETE {UPLOADS}one?state=x"]


def test_an_upload_elsewhere_is_left_to_expire(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", Reply(202, headers={"Location": "https://storage.example/one"}))
    assert ask() is None
    assert len(registry.asked) == 1


def test_a_login_is_missing(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", basic())
    found = ask()
    assert str(found) == (
        f"pushing to {registry.address}/team/app would fail: {registry.address} requires authentication; no "
        f"credentials found; log in to {registry.address} (docker login) or set DOCKER_AUTH_CONFIG"
    )


def test_a_login_is_wrong(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", basic())
    found = ask(LOGIN)
    assert found is not None
    assert found.message == f"pushing to {registry.address}/team/app failed with status 401: UNAUTHORIZED: no"
    assert found.fix == f"the login 'me' for {registry.address} is wrong or has insufficient permissions"


def test_a_token_service_refuses_the_login(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", bearer(registry))
    scope = "scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    registry.on(f"GET /token?service=s&{scope}&account=me", Reply(401, b"{}"))
    found = ask(LOGIN)
    assert found is not None
    assert f"{registry.address} refuses the login 'me'" in found.message


def test_a_token_without_the_right_to_push(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", bearer(registry, "DENIED"))
    scope = "scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    registry.on(f"GET /token?service=s&{scope}&account=me", Reply(200, b'{"token": "t"}'))
    found = ask(LOGIN)
    assert found is not None
    assert "insufficient permissions" in found.fix


def test_a_repository_that_nobody_made(registry: Registry, ask: Ask) -> None:
    registry.on(f"POST {UPLOADS}", Reply(404, refusal("NAME_UNKNOWN", "the repository does not exist")))
    found = ask(LOGIN)
    assert found is not None
    assert found.fix == f"create the repository {registry.address}/team/app, or check its name"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403, b"<html>blocked by the proxy</html>"),
        Reply(403, b""),
        Reply(403, refusal("DENIED", "the org has an IP allow list, and your IP address is not permitted")),
        Reply(403, refusal("DENIED", "not authorized to perform ecr:InitiateLayerUpload with an explicit deny")),
        Reply(404, b"not found"),
        Reply(404, refusal("UNSUPPORTED")),
        Reply(429, refusal("TOOMANYREQUESTS")),
        Reply(500, refusal("UNKNOWN")),
        Reply(503, b""),
        Reply(401, refusal("UNAUTHORIZED"), {"WWW-Authenticate": "Negotiate"}),
    ],
)
def test_what_is_not_certain_lets_the_build_go_on(registry: Registry, ask: Ask, reply: Reply) -> None:
    registry.on(f"POST {UPLOADS}", reply)
    assert ask(LOGIN) is None


def test_a_registry_that_only_the_cluster_reaches() -> None:
    store = CredentialStore([], env={})
    gone = [parse_reference("127.0.0.1:1/team/app:1")]
    with RegistryClient(store, patience=RequestPatience(attempts=1)) as client:
        assert find_refusal(client, store, gone, gone) is None


def test_a_base_image_that_can_be_read_is_only_looked_at(registry: Registry, ask: Ask) -> None:
    registry.on(f"HEAD {MANIFEST}", Reply(200))
    assert ask(push=False, read=True) is None
    assert [line for line, _ in registry.asked] == [f"HEAD {MANIFEST}"]


@pytest.mark.parametrize(
    ("reply", "fix"),
    [
        (Reply(404, refusal("MANIFEST_UNKNOWN")), "check the name and the tag of {0}/team/base:1"),
        (
            Reply(403, refusal("DENIED")),
            "check the name and the tag of {0}/team/base:1, or log in to {0} (docker login) or set DOCKER_AUTH_CONFIG",
        ),
    ],
)
def test_a_base_image_that_cannot_be_read(registry: Registry, ask: Ask, reply: Reply, fix: str) -> None:
    registry.on(f"HEAD {MANIFEST}", Reply(reply.status))
    registry.on(f"GET {MANIFEST}", reply)
    found = ask(push=False, read=True)
    assert found is not None
    assert found.fix == fix.format(registry.address)


def index(*platforms: str) -> bytes:
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1, "platform": platform}
        for number, (os, _, architecture) in enumerate(one.partition("/") for one in platforms)
        for platform in [{"os": os, "architecture": architecture}]
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def test_the_platforms_of_an_image(registry: Registry) -> None:
    registry.on(f"GET {MANIFEST}", Reply(200, index("linux/amd64", "linux/arm64", "unknown/unknown")))

    def image(tag: str) -> ImageReference:
        return parse_reference(f"{registry.address}/team/base:{tag}")

    with RegistryClient(CredentialStore([], env={}), patience=RequestPatience(attempts=1)) as client:
        assert list_platforms(client, image("1")) == ("linux/amd64", "linux/arm64")
        assert list_platforms(client, image("2")) == (), "not found"
