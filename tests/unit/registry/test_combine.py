import json
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.registry.content import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ci_buildx.registry.index import combine_index


def image(letter: str, architecture: str, media_type: str = OCI_MANIFEST, **platform: str) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": "sha256:" + letter * 64,
        "size": 500,
        "platform": {"architecture": architecture, "os": "linux", **platform},
    }


def attestation(letter: str, of: str) -> dict[str, Any]:
    return {
        "mediaType": OCI_MANIFEST,
        "digest": "sha256:" + letter * 64,
        "size": 600,
        "annotations": {
            "vnd.docker.reference.digest": "sha256:" + of * 64,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }


def combined(*parts: list[dict[str, Any]], **annotations: str) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(combine_index(parts, annotations))
    return index


def test_images_come_first_and_everything_is_kept() -> None:
    amd64 = [image("a", "amd64", artifactType="x"), attestation("b", "a")]
    arm64 = [
        {**image("c", "arm64"), "annotations": {"org.example": "value"}, "urls": ["https://x"]},
        attestation("d", "c"),
    ]
    assert combined(amd64, arm64) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [amd64[0], arm64[0], amd64[1], arm64[1]],
    }


def test_it_is_the_same_every_time() -> None:
    parts = ([image("a", "amd64")], [image("c", "arm64")])
    assert combine_index(parts, {"b": "1", "a": "2"}) == combine_index(parts, {"a": "2", "b": "1"})


def test_what_comes_twice_is_listed_once() -> None:
    one = {**image("a", "amd64"), "annotations": {"x": "1"}}
    other = {**image("a", "amd64"), "annotations": {"y": "2"}}
    assert combined([one], [other])["manifests"] == [{**one, "annotations": {"x": "1", "y": "2"}}]


@pytest.mark.parametrize(
    ("types", "annotations", "expected"),
    [
        ((DOCKER_MANIFEST, DOCKER_MANIFEST), {}, DOCKER_LIST),
        ((DOCKER_MANIFEST, OCI_MANIFEST), {}, OCI_INDEX),
        ((DOCKER_MANIFEST, DOCKER_MANIFEST), {"x": "1"}, OCI_INDEX),
    ],
)
def test_the_index_is_dockers_only_if_all_is(
    types: tuple[str, str], annotations: dict[str, str], expected: str
) -> None:
    index = combined([image("a", "amd64", types[0])], [image("c", "arm64", types[1])], **annotations)
    assert index["mediaType"] == expected


def test_two_nodes_must_not_build_the_same() -> None:
    with pytest.raises(RegistryError, match="two nodes pushed linux/amd64: sha256:aaa"):
        combined([image("a", "amd64")], [image("c", "amd64")])


def test_versions_of_windows_are_different_platforms() -> None:
    parts = [[image(letter, "amd64", **{"os": "windows", "os.version": letter})] for letter in "ab"]
    assert len(combined(*parts)["manifests"]) == 2
