"""Comparisons of an image with its replay."""

from __future__ import annotations

import json
from typing import Any

from ci_buildx.registry.client import RegistryRepository
from ci_buildx.registry.content import DOCKER_MANIFEST, OCI_MANIFEST
from ci_buildx.registry.stores import RegistryStore
from ci_buildx.replay.compare import CompareMode, compare_images, make_summary
from ci_buildx.replay.subject import ReplaySubject
from tests.unit.imagetools.memory_registry import CONFIG, LAYER, MemoryRegistry
from tests.unit.replay.images import make_client


def push(registry: MemoryRegistry, *layers: str, config: str = "{}", kind: str = OCI_MANIFEST) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": registry.push_blob("app", config.encode(), CONFIG),
        "layers": [registry.push_blob("app", one.encode(), LAYER) for one in layers],
    }
    return registry.push("app", document)


def compare(registry: MemoryRegistry, one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str]] | None:
    """The contexts and types of the differences, None without any."""
    store = RegistryStore(make_client(), RegistryRepository(registry.address, "app"))
    report = compare_images(store, one, store, other)
    assert report.pop("context") == "root"
    if not report:
        return None
    for event in report["children"]:
        assert len(event["inputs"]) == 2
        assert "mismatch: " in event["diff"]
    return [(event["context"], event["type"]) for event in report["children"]]


def test_differences(registry: MemoryRegistry) -> None:
    image = push(registry, "a", "b")
    root = (f"descriptor {OCI_MANIFEST}", "DescriptorMismatch")
    assert compare(registry, image, image) is None
    assert compare(registry, image, push(registry, "a", "c")) == [root, ("manifest/layers[1]", "LayerBlobMismatch")]
    assert compare(registry, image, push(registry, "a", "b", config="{ }")) == [
        root,
        ("manifest/config", "ConfigBlobMismatch"),
    ]
    assert compare(registry, image, push(registry, "a", config="{ }")) == [
        root,
        ("manifest/config", "ConfigBlobMismatch"),
        ("manifest/layers", "LayerBlobMismatch"),
    ]
    assert compare(registry, image, push(registry, "a", "b", kind=DOCKER_MANIFEST)) == [root]


def test_the_summary() -> None:
    subject = ReplaySubject(
        name="app:1", descriptor={"digest": "sha256:aa"}, attestation={"digest": "sha256:bb"}, platform=None
    )
    text = make_summary(subject, CompareMode.ARTIFACT, "sha256:cc", is_equal=False)
    assert "\n" not in text
    summary = json.loads(text)
    assert summary["subject"] == [{"name": "app:1", "digest": {"sha256": "aa"}}]
    predicate = summary["predicate"]
    assert (predicate["verificationResult"], predicate["buildx"]["replayDigest"]) == ("FAILED", "sha256:cc")
    assert predicate["inputAttestations"] == [{"uri": "app:1", "digest": {"sha256": "bb"}}]
    equal = json.loads(
        make_summary(ReplaySubject(name="f", descriptor=subject.descriptor), CompareMode.DIGEST, "", is_equal=True)
    )
    assert equal["predicate"]["verificationResult"] == "PASSED"
    assert equal["predicate"]["inputAttestations"] == [{"uri": "f", "digest": {}}]
