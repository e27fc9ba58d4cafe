"""What several nodes pushed by digest becomes one index, wherever its tags are."""

from dataclasses import replace

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.platform import Platform
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import OCI_INDEX, read_platform
from ci_buildx.registry.index import merge_index
from tests.integration.registry.conftest import Connect, Registries
from tests.integration.registry.image import push_attested, push_image

BOTH = (Platform("linux", "amd64"), Platform("linux", "arm64"))


def push_nodes(client: RegistryClient, target: ImageReference) -> list[str]:
    home = RegistryRepository.from_reference(target)
    return [push_attested(client, home, name).descriptor.digest for name in ("amd64", "arm64")]


def platforms(client: RegistryClient, tag: ImageReference) -> tuple[Platform, ...]:
    """Those of an index, in its order."""
    entries = client.read_manifest(RegistryRepository.from_reference(tag), tag.tag or "").entries
    return tuple(found for entry in entries if (found := read_platform(entry)))


@pytest.mark.parametrize("name", ["open", "basic", "token"])
def test_merge_under_several_tags(registries: Registries, connect: Connect, repository_path: str, name: str) -> None:
    client, target = connect(), ImageReference(registries[name].address, repository_path)
    tags = [replace(target, tag="1"), replace(target, tag="latest")]
    descriptor = merge_index(client, target, tags, push_nodes(client, target))
    for tag in tags:
        assert client.read_manifest(RegistryRepository.from_reference(tag), tag.tag or "").descriptor == descriptor
        assert platforms(client, tag) == BOTH
    entries = client.read_manifest(RegistryRepository.from_reference(target), "1").entries
    images = [entry["digest"] for entry in entries[:2]]
    assert [entry["annotations"]["vnd.docker.reference.digest"] for entry in entries[2:]] == images


def test_bare_manifests_get_the_platform_of_their_config(
    registries: Registries, connect: Connect, repository_path: str
) -> None:
    client, target = connect(), ImageReference(registries["open"].address, repository_path, tag="1")
    digests = [
        push_image(client, RegistryRepository.from_reference(target), name).descriptor.digest
        for name in ("amd64", "arm64")
    ]
    assert merge_index(client, target, [target], digests).media_type == OCI_INDEX
    assert platforms(client, target) == BOTH


def test_one_node_keeps_its_own_index(registries: Registries, connect: Connect, repository_path: str) -> None:
    client, target = connect(), ImageReference(registries["open"].address, repository_path, tag="1")
    pushed = push_attested(client, RegistryRepository.from_reference(target), "amd64")
    assert merge_index(client, target, [target], [pushed.descriptor.digest]) == pushed.descriptor


@pytest.mark.parametrize("elsewhere", ["open", "basic", "token"])
def test_tags_of_another_repository_get_everything(
    registries: Registries, connect: Connect, repository_path: str, elsewhere: str
) -> None:
    """From `basic` to the other registries blobs travel."""
    client, target = connect(), ImageReference(registries["basic"].address, repository_path)
    copy = ImageReference(registries[elsewhere].address, f"{repository_path}-copy", tag="1")
    merge_index(client, target, [replace(target, tag="1"), copy], push_nodes(client, target))
    check_whole(client, copy)


@pytest.mark.parametrize("name", ["open", "basic", "token"])
def test_inside_a_registry_blobs_are_mounted(
    registries: Registries, connect: Connect, repository_path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one is uploaded again; of `token` that takes rights to both repositories in one token."""
    client, target = connect(), ImageReference(registries[name].address, repository_path)
    copy = ImageReference(registries[name].address, f"{repository_path}-copy", tag="1")
    sources = push_nodes(client, target)
    uploaded: list[str] = []
    monkeypatch.setattr(client, "upload_blob", lambda _repository, digest, _body: uploaded.append(digest))
    merge_index(client, target, [copy], sources)
    assert uploaded == []
    check_whole(client, copy)


def check_whole(client: RegistryClient, copy: ImageReference) -> None:
    repository = RegistryRepository.from_reference(copy)
    for entry in client.read_manifest(repository, "1").entries:
        for blob in client.read_manifest(repository, entry["digest"]).blobs:
            assert len(client.read_blob(repository, blob["digest"])) == blob["size"]


def test_an_error_names_what_was_pushed(registries: Registries, connect: Connect, repository_path: str) -> None:
    client, target = connect(), ImageReference(registries["open"].address, repository_path)
    sources = push_nodes(client, target)
    tags = [replace(target, tag="1"), ImageReference("127.0.0.1:1", repository_path, tag="2"), replace(target, tag="3")]
    with pytest.raises(RegistryError, match=rf"127\.0\.0\.1:1: .*refused \(pushed already: {target}:1\)"):
        merge_index(client, target, tags, sources)


def test_annotations_of_the_index(registries: Registries, connect: Connect, repository_path: str) -> None:
    client, target = connect(), ImageReference(registries["open"].address, repository_path, tag="1")
    merge_index(client, target, [target], push_nodes(client, target), annotations={"org.example": "value"})
    assert client.read_manifest(RegistryRepository.from_reference(target), "1").fields["annotations"] == {
        "org.example": "value"
    }
