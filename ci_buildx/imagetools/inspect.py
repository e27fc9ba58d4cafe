"""What ``imagetools inspect`` shows of an image: its manifest, configs and attestations.

The value has the fields of buildx 0.38.2 (``util/imagetools/printers.go``, ``util/imagetools/loader.go``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from ci_buildx.errors import RegistryError
from ci_buildx.gotemplate.kinds import (
    ANY,
    INTEGER,
    TEXT,
    GoKind,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    StructField,
    StructKind,
)
from ci_buildx.imagetools.combine import REFERENCE_DIGEST
from ci_buildx.imagetools.kinds import (
    DESCRIPTOR,
    IMAGE,
    INDEX,
    LABELS,
    decode_document,
    format_platform,
    normalize_platform,
)
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.registry.content import INDEXES, MANIFESTS, ManifestDocument
from ci_buildx.registry.stores import ImageStore

LARGEST_ATTESTATION = 64 << 20
"""Maximum size in bytes of an attestation: an SBOM of a large image has some MiB."""
MOST_ATTESTED = 256 << 20
"""Maximum size in bytes of all attestations of an image that are shown."""
MOST_LISTED = 1024
"""Maximum number of manifests of an image that is shown: each is read."""
_REFERENCES = ("com.docker.reference.digest", REFERENCE_DIGEST)
_IN_TOTO = compile_lazily(r"application/vnd\.in-toto(?:\+json|\..*\+dsse)")
_PREDICATE = "in-toto.io/predicate-type"
_SPDX = "https://spdx.dev/Document"
_PROVENANCE = "https://slsa.dev/provenance/"
_DEEPEST = 4

_LISTED = StructKind(
    "manifest",
    (
        StructField(name="SchemaVersion", kind=INTEGER, json="schemaVersion"),
        StructField(name="MediaType", kind=TEXT, json="mediaType", omit=True),
        StructField(name="Digest", kind=TEXT, json="digest"),
        StructField(name="Size", kind=INTEGER, json="size"),
        StructField(name="Manifests", kind=ListKind(DESCRIPTOR), json="manifests"),
        StructField(name="Annotations", kind=LABELS, json="annotations", omit=True),
    ),
)
_SBOM = StructKind(
    "sbom",
    (
        StructField(name="SPDX", kind=ANY, omit=True),
        StructField(name="AdditionalSPDXs", kind=ListKind(ANY), omit=True),
    ),
)
_SLSA = StructKind("provenance", (StructField(name="SLSA", kind=ANY, omit=True),))


class ImageInspection:
    """An image that is inspected: everything but its manifest is read when it is used.

    ``name`` is as the user wrote it. Methods raise RegistryError.
    """

    def __init__(self, store: ImageStore, document: ManifestDocument, *, name: str) -> None:
        self._store = store
        self._attested = 0
        self.document = document
        self.name = name

    @property
    def index(self) -> Mapping[str, Any]:
        """The index, as data of its kind in Go."""
        found: Mapping[str, Any] = decode_document(INDEX, self.document.body, what="the index")
        return found

    def make_value(self) -> GoValue:
        """Return the value that templates of ``--format`` see."""
        images, attestations = _ManifestWalk(self._store).collect(self.document)
        configs = {platform: self._read_config(one) for platform, one in images.items()}
        several = len(configs) > 1

        def make_field(name: str, kind: StructKind, read: Callable[[list[ManifestDocument]], Any]) -> StructField:
            data[name] = lambda: self._read_attestations(images, attestations, read, several=several)
            return StructField(name=name, kind=MapKind(kind) if several else kind, method=True)

        data: dict[str, Any] = {"Name": self.name, "Manifest": GoValue(*self._describe_manifest())}
        image_kind: GoKind = MapKind(PointerKind(IMAGE)) if several else PointerKind(IMAGE)
        data["Image"] = configs if several else next(iter(configs.values()), None)
        fields = (
            StructField(name="Name", kind=TEXT, json="name", omit=True),
            StructField(name="Manifest", kind=ANY, json="manifest", omit=True),
            StructField(name="Image", kind=image_kind, json="image", omit=True),
            make_field("SBOM", _SBOM, self._read_sbom),
            make_field("Provenance", _SLSA, self._read_provenance),
        )
        return GoValue(StructKind("image", fields), data)

    def _describe_manifest(self) -> tuple[GoKind, dict[str, Any]]:
        found = self.document.descriptor
        described = {"MediaType": found.media_type, "Digest": found.digest, "Size": found.size}
        if not self.document.is_index:
            return DESCRIPTOR, described
        index = self.index
        return _LISTED, {
            "SchemaVersion": (index.get("Versioned") or {}).get("SchemaVersion", 0),
            **described,
            "MediaType": index.get("MediaType", ""),
            "Manifests": index.get("Manifests"),
            "Annotations": index.get("Annotations"),
        }

    def _read_config(self, image: ManifestDocument) -> Any:
        body = self._store.read_blob(image.fields["config"]["digest"])
        return decode_document(IMAGE, body, what="the image's config")

    def _read_attestations(
        self,
        images: Mapping[str, ManifestDocument],
        attestations: Mapping[str, list[ManifestDocument]],
        read: Callable[[list[ManifestDocument]], Any],
        *,
        several: bool,
    ) -> Any:
        found = {
            platform: data
            for platform, image in images.items()
            if (data := read(attestations.get(image.descriptor.digest, []))) is not None
        }
        return found if several else next(iter(found.values()), {})

    def _read_sbom(self, attestations: list[ManifestDocument]) -> Any:
        found = [one for each in attestations for one in self._read_predicates(each, lambda kind: kind == _SPDX)]
        if not found:
            return None
        return {"SPDX": found[0], "AdditionalSPDXs": found[1:] or None}

    def _read_provenance(self, attestations: list[ManifestDocument]) -> Any:
        data = None
        for each in attestations:
            for one in self._read_predicates(each, lambda kind: kind.startswith(_PROVENANCE), most=1):
                data = {"SLSA": one}
        return data

    def _read_predicates(
        self, attestation: ManifestDocument, is_wanted: Callable[[str], bool], *, most: int = 1000
    ) -> list[Any]:
        """Return the predicates of the statements that are wanted, without their envelopes."""
        layers = [
            layer
            for layer in attestation.fields.get("layers", ())
            if _IN_TOTO.fullmatch(layer["mediaType"])
            and is_wanted((layer.get("annotations") or {}).get(_PREDICATE, ""))
        ]
        return [self._read_predicate(layer) for layer in layers[:most]]

    def _read_predicate(self, layer: Mapping[str, Any]) -> Any:
        body = self._store.read_blob(layer["digest"], limit=LARGEST_ATTESTATION)
        self._attested += len(body)
        if self._attested > MOST_ATTESTED:
            raise RegistryError(f"the attestations of {self.name} have more than {MOST_ATTESTED >> 20} MiB")
        try:
            document = parse_json(body)
            if layer["mediaType"].endswith("+dsse"):
                document = parse_json(base64.b64decode(document["payload"], validate=True))
            return document.get("predicate")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RegistryError(f"the attestation {layer['digest']} is malformed") from None


class _ManifestWalk:
    """Collects the images below a manifest by platform, and the attestations by the image that they name."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._images: dict[str, ManifestDocument] = {}
        self._attestations: dict[str, list[ManifestDocument]] = {}
        self._visited = 0

    def collect(
        self, document: ManifestDocument
    ) -> tuple[dict[str, ManifestDocument], dict[str, list[ManifestDocument]]]:
        """Return the images by platform, in order, and the attestations by image."""
        self._visit(document, {}, 0)
        return dict(sorted(self._images.items())), self._attestations

    def _visit(self, document: ManifestDocument, entry: Mapping[str, Any], depth: int) -> None:
        self._visited += 1
        if self._visited > MOST_LISTED:
            raise RegistryError(f"the image of {self._store} has more than {MOST_LISTED} manifests")
        if document.is_index:
            if depth > _DEEPEST:
                raise RegistryError(f"{document.descriptor.digest} nests indexes too deeply")
            for one in document.entries:
                if one["mediaType"] in INDEXES | MANIFESTS:
                    self._visit(self._store.read_manifest(one["digest"]), one, depth + 1)
            return
        notes = entry.get("annotations") or {}
        subject = next((notes[name] for name in _REFERENCES if name in notes), None)
        if subject is not None:
            self._attestations.setdefault(subject, []).append(document)
        else:
            self._images[self._find_platform(document, entry)] = document

    def _find_platform(self, document: ManifestDocument, entry: Mapping[str, Any]) -> str:
        named = entry.get("platform")
        if isinstance(named, dict):
            data = {
                "OS": named.get("os", ""),
                "Architecture": named.get("architecture", ""),
                "Variant": named.get("variant", ""),
            }
        else:
            body = self._store.read_blob(document.fields["config"]["digest"])
            data = (decode_document(IMAGE, body, what="the image's config")).get("Platform") or {}
        return format_platform(normalize_platform(data))
