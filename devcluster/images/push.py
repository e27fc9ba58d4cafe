"""Builds and pushes images, skipping steps that are already done.

A layer's archive is rebuilt only if its fingerprint is new; its digest is recorded on disk. Every blob and manifest is
looked up in the registry, so that wiped storage is refilled.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode, urljoin

from devcluster.images import layer, oci
from devcluster.images.image import Content, Image, Variant

if TYPE_CHECKING:
    import requests

_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pusher:
    """Pushes to one registry: `url` is its root, `memory` a folder for records of layers; `say` receives lines."""

    session: requests.Session
    url: str
    memory: Path
    say: Callable[[str], None]

    def push(self, image: Image) -> str:
        """Update the image's tags and return its digest.

        Raises requests.RequestException if the registry refuses or is unreachable, OSError for a missing source.
        """
        manifests = {variant.architecture: self._push_variant(image, variant) for variant in image.variants}
        if len(manifests) == 1:
            (top,) = manifests.values()
        else:
            top = oci.index({architecture: manifest.descriptor for architecture, manifest in manifests.items()})
            for manifest in manifests.values():
                self._put_manifest(image.repository, manifest.descriptor.digest, manifest)
        put = [tag for tag in image.tags if self._put_manifest(image.repository, tag, top)]
        if put:
            self.say(f"pushed {image.repository}:{', '.join(put)} as {top.descriptor.digest[:19]}")
        return top.descriptor.digest

    def _push_variant(self, image: Image, variant: Variant) -> oci.Document:
        """Push the layers and the configuration; return the manifest, which is not pushed yet."""
        layers = [self._push_layer(image.repository, content) for content in variant.layers]
        configuration = oci.config(variant.architecture, variant.settings, layers)
        if not self._has(image.repository, "blobs", configuration.descriptor.digest):
            self._upload(image.repository, configuration.descriptor, io.BytesIO(configuration.content))
        return oci.manifest(configuration.descriptor, layers)

    def _push_layer(self, repository: str, content: Content) -> oci.Layer:
        record = self.memory / f"{layer.fingerprint(content.entries)}{'-gzip' if content.compressed else ''}.json"
        known = _recall(record)
        if known and self._has(repository, "blobs", known.descriptor.digest):
            return known
        self.memory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.memory) as archive:
            built = build(content, archive)
            if not self._has(repository, "blobs", built.descriptor.digest):
                archive.seek(0)
                self._upload(repository, built.descriptor, archive)
        _remember(record, built)
        return built

    def _has(self, repository: str, kind: str, reference: str) -> str:
        """Return the digest of a blob or manifest, or "" if the registry does not have it."""
        response = self.session.head(
            f"{self.url}/v2/{repository}/{kind}/{reference}",
            headers={"Accept": f"{oci.INDEX}, {oci.MANIFEST}"},
            timeout=_TIMEOUT,
        )
        if response.status_code == 404:
            return ""
        response.raise_for_status()
        return response.headers["Docker-Content-Digest"]

    def _upload(self, repository: str, descriptor: oci.Descriptor, content: IO[bytes]) -> None:
        uploads = f"{self.url}/v2/{repository}/blobs/uploads/"
        begun = self.session.post(uploads, timeout=_TIMEOUT)
        begun.raise_for_status()
        location = urljoin(uploads, begun.headers["Location"])
        target = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': descriptor.digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        self.session.put(target, data=content, headers=headers, timeout=_TIMEOUT).raise_for_status()

    def _put_manifest(self, repository: str, reference: str, document: oci.Document) -> bool:
        """Put a manifest unless it exists; return whether it was put."""
        if self._has(repository, "manifests", reference) == document.descriptor.digest:
            return False
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        headers = {"Content-Type": document.descriptor.media_type}
        self.session.put(url, data=document.content, headers=headers, timeout=_TIMEOUT).raise_for_status()
        return True


def build(content: Content, stream: IO[bytes]) -> oci.Layer:
    """Write a layer's blob to the stream, which must be empty and readable; return its description."""
    layer.write(content.entries, stream)
    stream.seek(0)
    diff_id = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    media_type, blob = oci.LAYER, diff_id
    if content.compressed:
        stream.seek(0)
        packed = gzip.compress(stream.read(), mtime=0)
        stream.seek(0)
        stream.truncate()
        stream.write(packed)
        media_type, blob = oci.COMPRESSED_LAYER, oci.digest(packed)
    descriptor = oci.Descriptor(media_type=media_type, digest=blob, size=stream.seek(0, io.SEEK_END))
    return oci.Layer(descriptor=descriptor, diff_id=diff_id)


def _recall(record: Path) -> oci.Layer | None:
    try:
        known = json.loads(record.read_text())
        descriptor = oci.Descriptor(media_type=known["type"], digest=known["digest"], size=known["size"])
        return oci.Layer(descriptor=descriptor, diff_id=known["diff_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # Missing, or not readable by this version: it is built again.


def _remember(record: Path, built: oci.Layer) -> None:
    known = {"type": built.descriptor.media_type, "digest": built.descriptor.digest, "size": built.descriptor.size}
    record.write_text(json.dumps({**known, "diff_id": built.diff_id}))
