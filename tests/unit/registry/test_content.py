import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import RegistryError
from ci_buildx.model.platform import Platform
from ci_buildx.registry.content import (
    DOCKER_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    compute_digest,
    parse_document,
    parse_platform,
    read_platform,
    verify_content,
)

DIGEST = "sha256:" + "a" * 64
ENTRY = {"mediaType": "application/x", "digest": DIGEST, "size": 1}


def body(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def test_a_manifest() -> None:
    content = body(mediaType=OCI_MANIFEST, config=ENTRY, layers=[ENTRY])
    document = parse_document(content)
    assert (document.descriptor.digest, document.descriptor.size) == (compute_digest(content), len(content))
    assert document.blobs == [ENTRY, ENTRY]
    assert not document.is_index


@pytest.mark.parametrize(
    ("fields", "announced", "expected"),
    [
        ({"manifests": []}, "", OCI_INDEX),
        ({"manifests": []}, f"{DOCKER_LIST}; charset=utf-8", DOCKER_LIST),
        ({"config": ENTRY, "layers": []}, "", OCI_MANIFEST),
        ({"mediaType": OCI_INDEX, "manifests": []}, "application/json", OCI_INDEX),
    ],
)
def test_the_type_is_found(fields: dict[str, Any], announced: str, expected: str) -> None:
    assert parse_document(body(**fields), announced).descriptor.media_type == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "malformed JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "not an image manifest"),
        (body(mediaType=[1]), "not an image manifest"),
        (body(mediaType=OCI_INDEX, manifests={}), "list of contents"),
        (body(mediaType=OCI_INDEX, manifests=[1]), "not a JSON object"),
        (body(mediaType=OCI_INDEX, manifests=[{**ENTRY, "digest": "sha256:../../x"}]), "invalid digest"),
        (body(mediaType=OCI_INDEX, manifests=[{**ENTRY, "size": -1}]), "is malformed"),
        (body(mediaType=OCI_INDEX, manifests=[{**ENTRY, "annotations": {"x": 1}}]), "annotations"),
        (body(mediaType=OCI_MANIFEST), "not a JSON object"),
        (body(mediaType=OCI_INDEX, manifests=[], layers=[]), "ambiguous"),
        (body(mediaType=OCI_MANIFEST, config=ENTRY, manifests=[]), "ambiguous"),
    ],
)
def test_malformed(content: bytes, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        parse_document(content)


def test_the_announced_type_must_agree() -> None:
    with pytest.raises(RegistryError, match="ambiguous"):
        parse_document(body(mediaType=OCI_INDEX, manifests=[]), OCI_MANIFEST)


VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from([DIGEST, OCI_INDEX, OCI_MANIFEST, "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "digest", "size", "manifests", "config", "layers", "annotations", "platform"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.binary(max_size=20) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_document_or_an_error(content: bytes) -> None:
    try:
        document = parse_document(content)
    except RegistryError:
        return
    for entry in (*document.entries, *document.blobs):
        read_platform(entry)


@pytest.mark.parametrize("digest", [compute_digest(b"other"), "md5:00", "sha256:xyz", ""])
def test_content_that_is_not_what_its_digest_says(digest: str) -> None:
    verify_content(b"content", compute_digest(b"content"))
    with pytest.raises(RegistryError):
        verify_content(b"content", digest)


def test_the_platform_of_a_config() -> None:
    config = json.dumps({"os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {}}).encode()
    assert parse_platform(config) == {"architecture": "arm", "os": "linux", "variant": "v7"}
    with pytest.raises(RegistryError, match="has no platform"):
        parse_platform(b"{}")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"os": "linux", "architecture": "arm64"}, Platform("linux", "arm64")),
        ({"os": "unknown", "architecture": "unknown"}, None),
        ({"os": 1}, None),
        (None, None),
    ],
)
def test_platform_of(platform: object, expected: Platform | None) -> None:
    assert read_platform({"platform": platform}) == expected
