"""A build on a node for each architecture: each pushes its share by digest, and one index is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ci_buildx.build import publish
from ci_buildx.buildkit import remote_cache
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import RegistryError, SolveError
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, compute_digest
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import TypedAttributes
from tests.unit.build.whole_build import NODES, WholeBuild
from tests.unit.registry.scripted import Registry, Reply, scripted
from tests.unit.scripted_buildkitd import SolveFault

LAYERS = [compute_digest(name.encode()) for name in ("amd64", "arm64")]
"""Digests of the layers that the nodes push, of an image and of its cache."""


def make_cache_config(layer: str) -> bytes:
    """A cache of one layer."""
    return json.dumps({"layers": [{"blob": layer, "parent": -1}], "records": []}).encode()


class Pushed:
    """What the nodes push to a registry: an index with one image for each platform, and a cache."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.name = f"{registry.address}/app:1"
        registry.on("HEAD /v2/app/manifests/1", Reply(404))
        registry.on("PUT /v2/app/manifests/1", Reply(201))

    def answer(self, request: SolveRequest) -> dict[str, str]:
        """Push what a node builds, and return the response of its exporters."""
        architecture = request.frontend_attrs["platform"].partition("/")[2]
        digest = compute_digest(architecture.encode())
        layer = {"mediaType": "l", "digest": digest, "size": 7}
        manifest = {"mediaType": OCI_MANIFEST, "config": layer, "layers": [layer]}
        entry = self.store(manifest) | {"platform": {"os": "linux", "architecture": architecture}}
        index = self.store({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
        response = {"containerimage.digest": index["digest"]}
        if request.cache.exports:
            response["cache.manifest"] = json.dumps(self.export_cache(digest))
        return response

    def export_cache(self, layer: str) -> dict[str, Any]:
        """Export a cache of one layer; its descriptor."""
        config = make_cache_config(layer)
        place = compute_digest(config)
        self.registry.on(f"GET /v2/app/blobs/{place}", Reply(200, config))
        self.registry.on(f"HEAD /v2/app/blobs/{place}", Reply(200))
        entry = {"mediaType": remote_cache.MEDIA_TYPE, "digest": place, "size": len(config)}
        layers = [{"mediaType": "l", "digest": layer, "size": 1}]
        return self.store({"mediaType": OCI_MANIFEST, "config": entry, "layers": layers})

    def store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Put a manifest into the registry; its descriptor."""
        content = json.dumps(manifest).encode()
        digest = compute_digest(content)
        reply = Reply(200, content, {"Content-Type": manifest["mediaType"]})
        self.registry.on(f"GET /v2/app/manifests/{digest}", reply)
        self.registry.on(f"HEAD /v2/app/manifests/{digest}", reply)
        return {"mediaType": manifest["mediaType"], "digest": digest, "size": len(content)}

    def read(self, tag: str) -> dict[str, Any]:
        """The manifest that was pushed under a tag."""
        (body,) = (body for line, body in self.registry.bodies if line == f"PUT /v2/app/manifests/{tag}")
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture
def pushed(build: WholeBuild) -> Iterator[Pushed]:
    """A registry to which two nodes push an image."""
    with scripted() as registry:
        found = Pushed(registry)
        build.options |= {"platforms": NODES, "push": True, "tags": (found.name,)}
        build.cluster.script.answer = found.answer
        yield found


def test_the_images_of_all_nodes_become_one_index_under_the_builds_name(build: WholeBuild, pushed: Pushed) -> None:
    result = build.run()
    index = pushed.read("1")
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    assert result.references == (pushed.name,)
    assert list(map(str, result.platforms)) == ["linux/amd64", "linux/arm64"]
    assert build.cluster.list_names("jobs") == []
    by_platform = {one.frontend_attrs["platform"]: one for one in build.cluster.script.solved}
    assert set(by_platform) == {"linux/amd64", "linux/arm64"}
    for request in by_platform.values():
        (exporter,) = request.exporters
        assert exporter.attrs["push-by-digest"] == "true"


def test_a_push_that_met_another_of_the_same_layer_is_repeated(build: WholeBuild, pushed: Pushed) -> None:
    collided: list[str] = []

    def collide_once(request: SolveRequest) -> dict[str, str]:
        if request.frontend_attrs["platform"] == "linux/arm64" and not collided:
            collided.append("arm64")
            raise SolveFault("UNKNOWN", "failed to push x: blob unknown to registry")
        return pushed.answer(request)

    build.cluster.script.answer = collide_once
    build.run()
    assert len(build.cluster.script.solved) == 3
    assert "node arm64 pushes again: failed to solve: failed to push x: blob unknown to registry" in build.output


def test_if_a_node_fails_no_tag_is_pushed(build: WholeBuild, pushed: Pushed) -> None:
    def fail(_: SolveRequest) -> dict[str, str]:
        raise SolveFault("UNKNOWN", "exit code: 1")

    build.cluster.script.answer = fail
    with pytest.raises(SolveError):
        build.run()
    assert pushed.registry.count("PUT /v2/app/manifests/1") == 0


def test_a_node_that_did_not_push_is_named(build: WholeBuild, pushed: Pushed) -> None:
    def push_amd64(request: SolveRequest) -> dict[str, str]:
        return pushed.answer(request) if request.frontend_attrs["platform"] == "linux/amd64" else {}

    build.cluster.script.answer = push_amd64
    with pytest.raises(RegistryError, match="node arm64 did not push; check its last log lines above"):
        build.run()


def test_the_caches_of_all_nodes_are_merged_under_one_tag(build: WholeBuild, pushed: Pushed) -> None:
    registry = pushed.registry
    registry.on("HEAD /v2/app/manifests/cache", Reply(404))
    registry.on("PUT /v2/app/manifests/cache", Reply(201))
    whole = compute_digest(remote_cache.merge_configs(map(make_cache_config, LAYERS)))
    registry.on("POST /v2/app/blobs/uploads/", Reply(202, headers={"Location": "/upload"}))
    registry.on(f"PUT /upload?digest={whole.replace(':', '%3A')}", Reply(201))
    cache = TypedAttributes(type="registry", attrs=(("ref", f"{registry.address}/app:cache"), ("mode", "max")))
    build.options["cache_to"] = (cache,)
    build.run()
    assert [layer["digest"] for layer in pushed.read("cache")["layers"]] == LAYERS


def test_the_sizes_of_pushed_images(build: WholeBuild, pushed: Pushed) -> None:
    result = build.run()
    registry = pushed.registry
    content = next(body for line, body in registry.bodies if line == "PUT /v2/app/manifests/1")
    registry.on(f"GET /v2/app/manifests/{result.digest}", Reply(200, content, {"Content-Type": OCI_INDEX}))
    sizes = publish.measure_images(result, BuilderSettings(), {})
    assert sizes == {"linux/amd64": 14, "linux/arm64": 14}, "the config and one layer"
    registry.on(f"GET /v2/app/manifests/{result.digest}", Reply(404))
    assert publish.measure_images(result, BuilderSettings(), {}) == {}
