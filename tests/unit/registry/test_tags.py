"""Tags that name the index already are left alone: in a registry with immutable tags a second push would fail."""

import json

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model import reference
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.content import OCI_MANIFEST, compute_digest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.index import merge_index
from tests.unit.registry.scripted import Registry, Reply, scripted

MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "c" * 64, "size": 2},
        "layers": [],
    }
).encode()
DIGEST = compute_digest(MANIFEST)
IMMUTABLE = Reply(400, b'{"errors": [{"code": "TAG_INVALID", "message": "the tag is immutable"}]}')


def named(digest: str) -> Reply:
    """What a registry says of a tag that names ``digest``."""
    return Reply(200, headers={"Docker-Content-Digest": digest})


def publish(registry: Registry, *tags: str) -> None:
    """Give what one node has pushed its tags; a tag that is "" stands for none."""
    registry.on(f"GET /v2/a/manifests/{DIGEST}", Reply(200, MANIFEST, {"Content-Type": OCI_MANIFEST}))
    names = [reference.parse_reference(f"{registry.address}/a{tag and ':'}{tag}") for tag in tags]
    with RegistryClient(CredentialStore([], env={})) as client:
        merge_index(client, names[0], names, [DIGEST])


def put(registry: Registry) -> list[str]:
    return [line.removeprefix("PUT /v2/a/manifests/") for line, _ in registry.asked if line.startswith("PUT")]


def test_a_tag_that_names_it_already_is_not_written() -> None:
    with scripted() as registry:
        registry.on("HEAD /v2/a/manifests/1", named(DIGEST))
        registry.on("PUT /v2/a/manifests/1", IMMUTABLE)
        publish(registry, "1")
        assert put(registry) == []


def test_a_tag_that_names_something_else_fails_as_the_registry_says() -> None:
    with scripted() as registry:
        registry.on("HEAD /v2/a/manifests/1", named("sha256:" + "0" * 64))
        registry.on("PUT /v2/a/manifests/1", IMMUTABLE)
        with pytest.raises(RegistryError, match=r"TAG_INVALID: the tag is immutable \(no tags were pushed\)"):
            publish(registry, "1")


def test_of_several_tags_each_is_looked_at() -> None:
    with scripted() as registry:
        registry.on("HEAD /v2/a/manifests/1", named(DIGEST))
        registry.on("HEAD /v2/a/manifests/2", Reply(404))
        registry.on("PUT /v2/a/manifests/2", Reply(201))
        registry.on("PUT /v2/a/manifests/3", IMMUTABLE)
        with pytest.raises(RegistryError) as raised:
            publish(registry, "1", "2", "3")
        assert put(registry) == ["2", "3"]
        assert f"(pushed already: {registry.address}/a:1, {registry.address}/a:2)" in str(raised.value)


@pytest.mark.parametrize("answer", [Reply(200), Reply(403), Reply(404)])
def test_where_the_registry_does_not_say_the_tag_is_written(answer: Reply) -> None:
    with scripted() as registry:
        registry.on("HEAD /v2/a/manifests/1", answer)
        registry.on("PUT /v2/a/manifests/1", Reply(201))
        publish(registry, "1")
        assert put(registry) == ["1"]


def test_without_a_tag_it_is_written_by_its_digest() -> None:
    with scripted() as registry:
        registry.on(f"PUT /v2/a/manifests/{DIGEST}", Reply(201))
        publish(registry, "")
        assert put(registry) == [DIGEST]


def test_a_registry_that_refuses_artifacts_gets_the_cure_of_a_build() -> None:
    reason = b'{"errors": [{"code": "DENIED", "message": "unknown class for application/vnd.oci.empty.v1+json"}]}'
    with scripted() as registry:
        registry.on("PUT /v2/a/manifests/1", Reply(403, reason))
        with pytest.raises(RegistryError) as raised:
            publish(registry, "1")
        assert "BUILDX_NO_DEFAULT_OCI_ARTIFACT=true" in raised.value.fix
