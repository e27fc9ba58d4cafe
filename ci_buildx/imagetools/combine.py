"""The index of several sources, as buildx 0.38.2 makes it (``util/imagetools/create.go``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.gotemplate.kinds import decode
from ci_buildx.imagetools.kinds import (
    DESCRIPTOR,
    INDEX,
    PLATFORM,
    decode_document,
    encode_document,
    format_platform,
    is_platform,
    normalize_platform,
)
from ci_buildx.imagetools.sources import IndexAnnotation
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.registry.content import DOCKER_LIST, INDEXES, OCI_INDEX, ManifestDocument, compute_digest
from ci_buildx.registry.stores import ImageStore

ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_ATTESTS = "attestation-manifest"
"""Annotations of an attestation in an index (BuildKit 0.34.2, ``docs/attestations/attestation-storage.md``)."""
_DOCKER = "application/vnd.docker."


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSource:
    """A source with its content. ``descriptor`` is data of its kind in Go, ``name`` its repository or layout."""

    store: ImageStore
    name: str
    document: ManifestDocument
    descriptor: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedImage:
    """The content to publish: an index or, if a single manifest is copied, that manifest.

    ``origins`` are the manifests that it needs, by digest. ``lost`` are annotations that it cannot have.
    """

    body: bytes
    descriptor: dict[str, Any]
    origins: Mapping[str, LoadedSource]
    lost: tuple[IndexAnnotation, ...] = ()

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.descriptor["MediaType"] in INDEXES


def combine_sources(
    sources: Sequence[LoadedSource],
    *,
    annotations: Sequence[IndexAnnotation] = (),
    prefer_index: bool = True,
    keeps_docker_list: bool = True,
) -> CombinedImage:
    """Combine sources; a single index, or a single manifest without ``prefer_index``, stays as it is.

    If all sources have Docker's types, the result is Docker's list, which has no annotations; without
    ``keeps_docker_list``, annotations make it an OCI index. Raises RegistryError for a malformed index.
    """
    sources = [_add_platform(one) for one in sources]
    first = sources[0]
    if len(sources) == 1 and not annotations and (first.document.is_index or not prefer_index):
        digest = first.document.descriptor.digest
        return CombinedImage(body=first.document.body, descriptor=first.descriptor, origins={digest: first})
    entries, origins = _merge_entries(sources)
    is_docker = all(str(one.get("MediaType", "")).startswith(_DOCKER) for one in entries)
    is_docker = is_docker and (keeps_docker_list or not annotations)
    index: dict[str, Any] = {
        "Versioned": {"SchemaVersion": 2},
        "MediaType": DOCKER_LIST if is_docker else OCI_INDEX,
        "Manifests": entries,
    }
    if not is_docker:
        _annotate(index, annotations)
    body = encode_document(INDEX, index)
    lost = tuple(annotations) if is_docker else ()
    return CombinedImage(body=body, descriptor=_describe(index["MediaType"], body), origins=origins, lost=lost)


def select_platforms(image: CombinedImage, platforms: Sequence[Platform]) -> CombinedImage:
    """Drop the entries of other platforms, and add attestations that are only referrers of an image.

    Without ``platforms``, all stay. Raises InputError if nothing is left.
    """
    if not image.is_index:
        found = image.descriptor.get("Platform") or {}
        if platforms and not any(is_platform(found, one) for one in platforms):
            message = f"the image is for {format_platform(found)} only"
            raise InputError(message, source="--platform", fix="name its platform or omit the option")
        return image
    index = decode_document(INDEX, image.body, what="the index")
    entries: list[dict[str, Any]] = index.get("Manifests") or []
    attested = _find_attested(entries)
    selected = [one for one in entries if _is_selected(attested.get(one["Digest"], one), platforms)]
    if not selected:
        raise InputError("no entry of the index matches", source="--platform", fix="see imagetools inspect")
    added = _find_attestations(image, selected, attested)
    origins = {one["Digest"]: find_origin(image, one["Digest"]) for one in selected}
    origins |= {one["Digest"]: origin for one, origin in added}
    if len(selected) == len(entries) and not added:
        return replace(image, origins=origins)
    index["Manifests"] = [*selected, *(one for one, _ in added)]
    body = encode_document(INDEX, index)
    descriptor = _describe(image.descriptor["MediaType"], body)
    if noted := image.descriptor.get("Annotations"):
        descriptor["Annotations"] = noted
    return replace(image, body=body, descriptor=descriptor, origins=origins)


def find_origin(image: CombinedImage, digest: str) -> LoadedSource:
    """Return the source that has a manifest of the image."""
    return image.origins.get(digest) or image.origins[image.descriptor["Digest"]]


def _add_platform(source: LoadedSource) -> LoadedSource:
    """Complete the platform of a manifest from its config."""
    if source.document.is_index:
        return source
    platform = dict(source.descriptor.get("Platform") or {})
    if not platform.get("OS") or not platform.get("Architecture"):
        body = source.store.read_blob(source.document.fields["config"]["digest"])
        found = normalize_platform(decode_document(PLATFORM, body, what="the image's config"))
        if not platform.get("Architecture"):
            platform["Architecture"] = found.get("Architecture", "")
            platform["Variant"] = platform.get("Variant") or found.get("Variant", "")
        platform["OS"] = platform.get("OS") or found["OS"]
    return replace(source, descriptor={**source.descriptor, "Platform": platform})


def _merge_entries(sources: Sequence[LoadedSource]) -> tuple[list[dict[str, Any]], dict[str, LoadedSource]]:
    """Return the entries without duplicates, in the sources' order, and the last source of each."""
    entries: dict[str, dict[str, Any]] = {}
    origins: dict[str, LoadedSource] = {}
    for source in sources:
        listed = [source.descriptor]
        if source.document.is_index:
            index = decode_document(INDEX, source.document.body, what=f"the index of {source.name}")
            listed = index.get("Manifests") or []
        for entry in listed:
            known = entries.get(entry["Digest"])
            entries[entry["Digest"]] = dict(entry) if known is None else _merge_entry(known, entry)
            origins[entry["Digest"]] = source
    return list(entries.values()), origins


def _merge_entry(known: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**known, "Annotations": {**(known.get("Annotations") or {}), **(entry.get("Annotations") or {})}}
    merged["MediaType"] = known.get("MediaType") or entry.get("MediaType", "")
    merged["Platform"] = entry.get("Platform") or known.get("Platform")
    return merged


def _annotate(index: dict[str, Any], annotations: Sequence[IndexAnnotation]) -> None:
    index["Annotations"] = {one.key: one.value for one in annotations if not one.on_entries}
    for entry in index["Manifests"]:
        platform = entry.get("Platform") or {}
        added = {
            one.key: one.value
            for one in annotations
            if one.on_entries and (one.platform is None or format_platform(platform) == str(one.platform))
        }
        entry["Annotations"] = {**(entry.get("Annotations") or {}), **added}


def _describe(media_type: str, body: bytes) -> dict[str, Any]:
    return {"MediaType": media_type, "Digest": compute_digest(body), "Size": len(body)}


def _is_selected(entry: Mapping[str, Any], platforms: Sequence[Platform]) -> bool:
    platform = entry.get("Platform")
    return not platforms or platform is None or any(is_platform(platform, one) for one in platforms)


def _find_attested(entries: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the image of each attestation among the entries, by the attestation's digest."""
    by_digest = {one["Digest"]: one for one in entries}
    found: dict[str, Mapping[str, Any]] = {}
    for one in entries:
        notes = one.get("Annotations") or {}
        subject = by_digest.get(notes.get(REFERENCE_DIGEST, ""))
        if notes.get(_REFERENCE_TYPE) == _ATTESTS and subject is not None:
            found[one["Digest"]] = subject
    return found


def _find_attestations(
    image: CombinedImage, selected: Sequence[Mapping[str, Any]], attested: Mapping[str, Mapping[str, Any]]
) -> list[tuple[dict[str, Any], LoadedSource]]:
    """Return an entry for the attestation of each image that has it only as a referrer, with its source."""
    have = {subject["Digest"] for subject in attested.values()}
    found = []
    for one in selected:
        digest = one["Digest"]
        if digest in attested or digest in have:
            continue
        origin = find_origin(image, digest)
        for referrer in origin.store.list_referrers(digest):
            if referrer.get("artifactType") == ATTESTATION and referrer["digest"] not in attested:
                found.append((_make_attestation(referrer, digest), origin))
                break
    return found


def _make_attestation(referrer: Mapping[str, Any], subject: str) -> dict[str, Any]:
    entry: dict[str, Any] = decode(DESCRIPTOR, referrer)
    notes = {**(entry.get("Annotations") or {}), _REFERENCE_TYPE: _ATTESTS, REFERENCE_DIGEST: subject}
    platform = {"Architecture": "unknown", "OS": "unknown"}
    return {**entry, "Annotations": notes, "Platform": platform, "ArtifactType": ""}


def check_annotations(image: CombinedImage) -> str:
    """Return a warning if the image cannot have the requested annotations, "" otherwise."""
    if not image.lost:
        return ""
    keys = ", ".join(dict.fromkeys(one.key for one in image.lost))
    return f"annotations need an OCI index, but all sources have Docker's media types; not set: {keys}"
