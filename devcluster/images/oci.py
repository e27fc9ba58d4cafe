"""OCI images as bytes: configuration, manifest and index (opencontainers/image-spec v1.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
COMPRESSED_LAYER = f"{LAYER}+gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A manifest's description of a blob: `size` in bytes, `digest` with its algorithm."""

    media_type: str
    digest: str
    size: int

    def render(self) -> dict[str, Any]:
        """Return the descriptor as JSON value."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer's blob, and the digest of its archive before compression."""

    descriptor: Descriptor
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON document with its descriptor."""

    descriptor: Descriptor
    content: bytes


def digest(content: bytes) -> str:
    """Return the content's digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config(architecture: str, settings: Mapping[str, Any], layers: Sequence[Layer]) -> Document:
    """Return an image's configuration; `settings` are those of a container: Entrypoint, Env, Volumes…"""
    return _document(
        CONFIG,
        {
            **platform(architecture),
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        },
    )


def platform(architecture: str) -> dict[str, str]:
    """Return the fields of a Linux platform; `arm/v7` has a variant."""
    name, _, variant = architecture.partition("/")
    return {"architecture": name, "os": "linux"} | ({"variant": variant} if variant else {})


def manifest(configuration: Descriptor, layers: Sequence[Layer]) -> Document:
    """Return the manifest of one platform's image."""
    return _document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": configuration.render(),
            "layers": [layer.descriptor.render() for layer in layers],
        },
    )


def index(manifests: Mapping[str, Descriptor]) -> Document:
    """Return an index of manifests by architecture."""
    return _document(
        INDEX,
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**manifest.render(), "platform": platform(architecture)}
                for architecture, manifest in sorted(manifests.items())
            ],
        },
    )


def _document(media_type: str, value: object) -> Document:
    content = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return Document(
        descriptor=Descriptor(media_type=media_type, digest=digest(content), size=len(content)), content=content
    )
