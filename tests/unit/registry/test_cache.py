"""Caches of several nodes in a registry become one; the format of caches is BuildKit's."""

import json
from typing import Any

import pytest

from ci_buildx.buildkit import remote_cache
from ci_buildx.errors import RegistryError
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.content import OCI_MANIFEST, compute_digest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.index import MergedCache, merge_caches
from tests.unit.registry.scripted import Registry, Reply, scripted

UPLOADS = "/v2/c/blobs/uploads/"


def serve(registry: Registry, blob: str, *, size: int = 0) -> str:
    """A cache of one layer; its digest. ``size`` makes its configuration at least as large (bytes)."""
    layers = [{"blob": blob, "parent": -1, "annotations": {"mediaType": "m" * size}}]
    config = json.dumps({"layers": layers, "records": [{"digest": blob, "layers": [{"layer": 0}]}]}).encode()
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": compute_digest(blob.encode()),
        "size": 1,
    }
    entry = {"mediaType": remote_cache.MEDIA_TYPE, "digest": compute_digest(config), "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": [layer]}).encode()
    registry.on(f"GET /v2/c/blobs/{entry['digest']}", Reply(200, config))
    registry.on(f"GET /v2/c/manifests/{compute_digest(manifest)}", Reply(200, manifest))
    return compute_digest(manifest)


def merge(registry: Registry, *sources: str) -> MergedCache:
    registry.on(f"POST {UPLOADS}", Reply(202, headers={"Location": "/put"}))
    registry.on("PUT /v2/c/manifests/t", Reply(201))
    with RegistryClient(CredentialStore([], env={})) as client:
        return merge_caches(client, ImageReference(registry.address, "c", tag="t"), sources, remote_cache)


def test_one_configuration_and_one_manifest_are_written() -> None:
    with scripted() as registry:
        sources = [serve(registry, blob) for blob in ("one", "two")]
        merged_config = remote_cache.merge_configs(
            body for line, replies in registry.replies.items() if "/blobs/" in line for body in [replies[0].body]
        )
        registry.on(f"PUT /put?digest={compute_digest(merged_config).replace(':', '%3A')}", Reply(201))
        merged = merge(registry, *sources)
        (manifest,) = [body for line, body in registry.bodies if line == "PUT /v2/c/manifests/t"]
        written: dict[str, Any] = json.loads(manifest)
        assert written["config"]["digest"] == compute_digest(merged_config)
        assert [layer["digest"] for layer in written["layers"]] == [compute_digest(b"one"), compute_digest(b"two")]
        assert (merged.descriptor.digest, merged.too_large) == (compute_digest(manifest), False)


def test_what_the_reference_names_already_is_not_written_again() -> None:
    with scripted() as registry:
        source = serve(registry, "one")
        registry.on("HEAD /v2/c/manifests/t", Reply(200, headers={"Docker-Content-Digest": source}))
        assert merge(registry, source, source).descriptor.digest == source
        assert [line for line, _ in registry.asked if line.startswith(("PUT", "POST"))] == []


def test_more_than_buildkit_reads_leaves_the_first() -> None:
    with scripted() as registry:
        sources = [serve(registry, blob, size=600_000) for blob in ("one", "two")]
        merged = merge(registry, *sources)
        assert (merged.descriptor.digest, merged.too_large) == (sources[0], True)
        assert registry.count("PUT /v2/c/manifests/t") == 1
        assert registry.count(f"POST {UPLOADS}") == 0


def test_an_image_is_not_merged() -> None:
    with scripted() as registry:
        entry = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": compute_digest(b"{}"), "size": 2}
        image = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": []}).encode()
        registry.on(f"GET /v2/c/manifests/{compute_digest(image)}", Reply(200, image))
        with pytest.raises(RegistryError, match=r"the cache in .*/c cannot be merged: not a cache"):
            merge(registry, compute_digest(image))
