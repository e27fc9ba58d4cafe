"""Images small enough to read, pushed through the client under test."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import Any

from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, ManifestDocument, compute_digest, parse_document

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
IN_TOTO = "application/vnd.in-toto+json"


def push_image(client: RegistryClient, repository: RegistryRepository, architecture: str) -> ManifestDocument:
    """Push one image by digest, as a node does."""
    config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}}).encode()
    layer = f"the layer of {architecture}".encode() * 1000
    return _push(client, repository, (config, CONFIG), (layer, LAYER))


def push_attested(client: RegistryClient, repository: RegistryRepository, architecture: str) -> ManifestDocument:
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
    document = parse_document(json.dumps(index).encode())
    client.put_manifest(repository, document.descriptor.digest, document)
    return document


def entry(document: ManifestDocument, **more: Any) -> dict[str, Any]:
    found = document.descriptor
    return {"mediaType": found.media_type, "digest": found.digest, "size": found.size, **more}


def _push(client: RegistryClient, repository: RegistryRepository, *blobs: tuple[bytes, str]) -> ManifestDocument:
    for content, _ in blobs:
        client.upload_blob(repository, compute_digest(content), partial(Piece, content))
    config, *layers = [{"mediaType": kind, "digest": compute_digest(body), "size": len(body)} for body, kind in blobs]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    document = parse_document(json.dumps(manifest).encode())
    client.put_manifest(repository, document.descriptor.digest, document)
    return document


class Piece(io.BytesIO):
    """Content with a length."""

    def __len__(self) -> int:
        return len(self.getvalue())
