"""Manifests and indexes as registries store them. Pure; all content is validated before it is used.

The formats are those of the OCI image specification 1.1 (``manifest.md``, ``image-index.md``) and of Docker's
"image manifest version 2, schema 2". Descriptors stay JSON objects, so that a merge preserves unknown fields.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.errors import RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))

LARGEST_MANIFEST = 4 << 20
"""Maximum size in bytes; registries refuse larger manifests (distribution 2.8, ``registry/handlers/manifests.go``)."""
LARGEST_CONFIG = 8 << 20

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MOST_ENTRIES = 4096
_PLATFORM = ("os", "architecture", "variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDescriptor:
    """Media type, digest and size (bytes) of some content."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return it as an index or a manifest lists it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDocument:
    """A manifest or index: its raw bytes, its descriptor and its parsed fields."""

    descriptor: ContentDescriptor
    body: bytes
    fields: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.descriptor.media_type in INDEXES

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The descriptors of an index's manifests, unchanged."""
        return list(self.fields.get("manifests", ()))

    @property
    def blobs(self) -> list[dict[str, Any]]:
        """The descriptors of a manifest's config and layers, unchanged."""
        return [self.fields["config"], *self.fields.get("layers", ())] if not self.is_index else []


def compute_digest(body: bytes) -> str:
    """Return the sha256 digest of some content."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def verify_content(body: bytes, digest: str) -> None:
    """Raise RegistryError if the content does not match its digest."""
    algorithm, _, expected = check_digest(digest).partition(":")
    if hashlib.new(algorithm, body).hexdigest() != expected:
        raise RegistryError(
            f"the registry returned content that does not match {digest}",
            fix="check its storage and any proxy in between",
        )


def check_digest(digest: object) -> str:
    """Return the digest if its syntax and algorithm are supported; raise RegistryError otherwise."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RegistryError(f"invalid digest {str(digest)[:100]!r}")
    return digest


def parse_document(body: bytes, content_type: str = "") -> ManifestDocument:
    """Parse a manifest or index; raise RegistryError if it is malformed or of an unknown type."""
    fields = _require_object(_load_json(body), "the manifest")
    media_type = _read_media_type(fields, content_type.partition(";")[0].strip())
    if media_type in INDEXES:
        _check_entries(fields.get("manifests", []))
    else:
        _check_descriptor(fields.get("config"))
        _check_entries(fields.get("layers", []))
    descriptor = ContentDescriptor(media_type=media_type, digest=compute_digest(body), size=len(body))
    return ManifestDocument(descriptor=descriptor, body=body, fields=fields)


def make_index(entries: Sequence[Mapping[str, Any]]) -> ManifestDocument:
    """Make an OCI index of descriptors."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    return parse_document(json.dumps(index, indent=2).encode())


def parse_platform(config: bytes) -> dict[str, str]:
    """Return the platform in an image's config, in the form used by an index; raise RegistryError if missing."""
    fields = _require_object(_load_json(config), "the image's config")
    names = ("architecture", "os", "variant", "os.version")
    platform = {name: fields[name] for name in names if isinstance(fields.get(name), str) and fields[name]}
    if "os" not in platform or "architecture" not in platform:
        raise RegistryError("the image's config has no platform")
    return platform


def read_platform(entry: Mapping[str, Any]) -> Platform | None:
    """Return the platform of an index's entry, None if it has none or is not an image (attestations)."""
    platform = entry.get("platform")
    if not isinstance(platform, dict):
        return None
    parts = [platform.get(name, "") for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts) or parts[0] in ("", "unknown"):
        return None
    return Platform(*parts)


def _load_json(body: bytes) -> object:
    try:
        return parse_json(body)
    except ValueError:
        raise RegistryError("the registry sent malformed JSON") from None


def _require_object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RegistryError(f"{what} is not a JSON object")
    return value


def _read_media_type(fields: Mapping[str, Any], announced: str) -> str:
    """Return the content's own type, or else the announced one; raise RegistryError if they or the content disagree.

    Content that is valid both as an index and as a manifest would be read differently by different clients
    (CVE-2021-41190).
    """
    media_type = fields.get("mediaType") or announced or _guess_media_type(fields)
    known = INDEXES | MANIFESTS
    if not isinstance(media_type, str) or media_type not in known:
        raise RegistryError(f"{str(media_type)[:100]!r} is not an image manifest")
    foreign = {"layers", "config"} if media_type in INDEXES else {"manifests"}
    if foreign & fields.keys() or (announced in known and announced != media_type):
        raise RegistryError("the manifest is ambiguous: its type and its content differ")
    return media_type


def _guess_media_type(fields: Mapping[str, Any]) -> str:
    """Derive the type from the content; OCI content may omit it."""
    if "manifests" in fields:
        return OCI_INDEX
    return OCI_MANIFEST if "config" in fields else ""


def _check_entries(entries: object) -> None:
    if not isinstance(entries, list) or len(entries) > _MOST_ENTRIES:
        raise RegistryError("the manifest's list of contents is malformed")
    for entry in entries:
        _check_descriptor(entry)


def _check_descriptor(value: object) -> None:
    entry = _require_object(value, "a descriptor")
    check_digest(entry.get("digest"))
    size, media_type = entry.get("size"), entry.get("mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(media_type, str):
        raise RegistryError(f"the descriptor of {entry['digest']} is malformed")
    annotations = entry.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise RegistryError(f"the annotations of {entry['digest']} are malformed")
    platform = entry.get("platform") or {}
    if not isinstance(platform, dict) or not all(isinstance(platform.get(name), str | None) for name in _PLATFORM):
        raise RegistryError(f"the platform of {entry['digest']} is malformed")
