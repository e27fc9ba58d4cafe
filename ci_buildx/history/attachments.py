"""What a record refers to: attestations and results. Source: buildx 0.38.2, ``commands/history/inspect.go``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ci_buildx.buildkit.history import BuildRecord, RecordBlob, RecordResult
from ci_buildx.errors import BuildkitError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SLSA_02, SLSA_1 = "https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
TYPES = {
    "index": (INDEX,),
    "manifest": (MANIFEST,),
    "image": (CONFIG,),
    "provenance": (SLSA_1, SLSA_02),
    "sbom": (SPDX,),
}
"""Short names of types; any other name is a type itself."""
_INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_ATTESTATION = "attestation-manifest"
_DEEPEST = 4
_MOST_ENTRIES = 1000


class BlobSource(Protocol):
    """Where the blobs of a record are. Methods raise BuildkitError."""

    def has(self, digest: str) -> bool:
        """Return whether a blob exists."""

    def read(self, digest: str) -> bytes:
        """Return a blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAttachment:
    """A blob of a record; ``platform`` is "" if it belongs to no platform."""

    blob: RecordBlob
    platform: str = ""

    @property
    def type(self) -> str:
        """The predicate's type, or the media type."""
        return self.blob.annotations.get("in-toto.io/predicate-type", self.blob.media_type)


def list_attachments(record: BuildRecord, source: BlobSource) -> list[RecordAttachment]:
    """Return the attachments of a record that exist, by platform and type. Raises BuildkitError."""
    found = list(_list_of_result(record.result, source, "")) if record.result else []
    for platform, result in record.results.items():
        found += _list_of_result(result, source, platform)
    return sorted(found, key=lambda one: (one.platform, one.type))


def _list_of_result(result: RecordResult, source: BlobSource, platform: str) -> Iterator[RecordAttachment]:
    for blob in result.attestations:
        yield RecordAttachment(blob=blob, platform=platform)
    for numbered in sorted(result.results, key=lambda one: one.key):
        if numbered.value is not None:
            yield from _walk(numbered.value, source, platform, 0)


def _walk(blob: RecordBlob, source: BlobSource, platform: str, depth: int) -> Iterator[RecordAttachment]:
    """Yield a blob, and what is below it if it is an index; images that were only pushed are not there."""
    if depth > _DEEPEST or not source.has(blob.digest):
        return
    if blob.annotations.get("vnd.docker.reference.type") != _ATTESTATION:
        yield RecordAttachment(blob=blob, platform=platform)
    if blob.media_type not in _INDEXES:
        return
    for entry in _read_entries(source.read(blob.digest))[:_MOST_ENTRIES]:
        named = entry.get("platform")
        inner = RecordBlob(
            media_type=str(entry.get("mediaType", "")),
            digest=str(entry.get("digest", "")),
            size=entry["size"] if isinstance(entry.get("size"), int) else 0,
            annotations={str(key): str(value) for key, value in (_take_mapping(entry.get("annotations"))).items()},
        )
        below = _format_platform(named) if isinstance(named, Mapping) else platform
        yield from _walk(inner, source, below, depth + 1)


def _read_entries(body: bytes) -> list[Mapping[str, Any]]:
    try:
        entries = _take_mapping(parse_json(body)).get("manifests")
    except ValueError:
        return []
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []


def _take_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _format_platform(named: Mapping[str, Any]) -> str:
    return "/".join(str(named[key]) for key in ("os", "architecture", "variant") if named.get(key))


def choose_attachment(found: list[RecordAttachment], *, wanted: str, platform: str) -> RecordAttachment | None:
    """Return the first attachment of a ``wanted`` type and a platform ("" for any)."""
    types = TYPES.get(wanted, (wanted,))
    for one in found:
        if (not wanted or one.type in types) and platform in ("", one.platform):
            return one
    return None


def read_materials(found: list[RecordAttachment], source: BlobSource) -> list[dict[str, Any]]:
    """Return the materials of the first provenance, as data of the inspection. Raises BuildkitError."""
    provenance = next((one for one in found if one.type.startswith("https://slsa.dev/provenance/")), None)
    if provenance is None:
        return []
    try:
        predicate = _take_mapping(parse_json(source.read(provenance.blob.digest)))
    except ValueError:
        raise BuildkitError(f"the provenance {provenance.blob.digest} is malformed") from None
    if provenance.type == SLSA_02:
        entries = predicate.get("materials")
    else:
        entries = _take_mapping(predicate.get("buildDefinition")).get("resolvedDependencies")
    return [
        {
            "URI": str(one.get("uri", "")),
            "Digests": [f"{name}:{value}" for name, value in sorted(_take_mapping(one.get("digest")).items())],
        }
        for one in (entries if isinstance(entries, list) else [])
        if isinstance(one, Mapping)
    ]
