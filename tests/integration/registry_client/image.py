"""Images small enough to read, pushed through the client under test."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import Any

from ci_buildx.registry.client import RegistryClient, Repository
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, Document, digest_of, parse

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
IN_TOTO = "application/vnd.in-toto+json"


def push_image(client: RegistryClient, repository: Repository, architecture: str) -> Document:
    """Push one image by digest, as a node does."""
    config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}}).encode()
    layer = f"the layer of {architecture}".encode() * 1000
    return _push(client, repository, (config, CONFIG), (layer, LAYER))


def push_attested(client: RegistryClient, repository: Repository, architecture: str) -> Document:
    """Push an index of an image and its attestation by digest, as BuildKit does with provenance."""
    image = push_image(client, repository, architecture)
    statement = _push(client, repository, (b"{}", CONFIG), (f'{{"of": "{architecture}"}}'.encode(), IN_TOTO))
    annotations = {
        "vnd.docker.reference.digest": image.descriptor.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            entry(image, platform={"architecture": architecture, "os": "linux"}),
            entry(statement, platform={"architecture": "unknown", "os": "unknown"}, annotations=annotations),
        ],
    }
    document = parse(json.dumps(index).encode())
    client.put_manifest(repository, document.descriptor.digest, document)
    return document


def entry(document: Document, **more: Any) -> dict[str, Any]:
    found = document.descriptor
    return {"mediaType": found.media_type, "digest": found.digest, "size": found.size, **more}


def _push(client: RegistryClient, repository: Repository, *blobs: tuple[bytes, str]) -> Document:
    for content, _ in blobs:
        client.upload_blob(repository, digest_of(content), partial(Piece, content))
    config, *layers = [{"mediaType": kind, "digest": digest_of(body), "size": len(body)} for body, kind in blobs]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    document = parse(json.dumps(manifest).encode())
    client.put_manifest(repository, document.descriptor.digest, document)
    return document


class Piece(io.BytesIO):
    """Content with a length."""

    def __len__(self) -> int:
        return len(self.getvalue())
