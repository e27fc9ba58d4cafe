"""Stores what a build was made of in an OCI layout: its provenance and, if asked for, the content of its sources.

The layout has the form of docker buildx 0.38.2 (``replay/snapshot_format.go``): per platform an index whose subject is
the manifest of the attestations, with a manifest of the sources and the manifests of the images among them.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.imagetools.create import open_store
from ci_buildx.imagetools.location import RegistryLocation
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import parse_reference
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, ManifestDocument, parse_document, read_platform
from ci_buildx.registry.copies import ImageCopy
from ci_buildx.registry.layouts import LayoutStore
from ci_buildx.registry.stores import BlobTransfer, ImageStore
from ci_buildx.replay.materials import MaterialKind, MaterialStores, classify_material, open_file
from ci_buildx.replay.pins import parse_package
from ci_buildx.replay.predicate import BuildMaterial, BuildPredicate
from ci_buildx.replay.subject import SOURCE, ReplaySubject
from ci_buildx.session.oci_layout import LayoutName, list_entries

SNAPSHOT_TYPE = "application/vnd.docker.buildx.snapshots.v1+json"
MATERIALS_TYPE = "application/vnd.docker.buildx.snapshots.materials.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
_FILE_TYPE = "application/octet-stream"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_TAG = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTarget:
    """A subject with its provenance."""

    subject: ReplaySubject
    predicate: BuildPredicate


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialImage:
    """A source that is an image: where it is, its root, and its manifest for the platform that the build read."""

    store: ImageStore
    root: ManifestDocument
    manifest: ManifestDocument


class SnapshotWriter:
    """Writes a snapshot into a layout; sources are searched in ``stores``, images also in registries.

    ``note`` is called with the name of each source, and ``warn`` for those that cannot be stored. Methods raise
    InputError and RegistryError.
    """

    def __init__(
        self,
        client: RegistryClient,
        stores: MaterialStores,
        *,
        note: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._stores = stores
        self._note = note
        self._warn = warn
        self._warned: set[str] = set()

    def check_input(self, targets: Sequence[SnapshotTarget], *, materials: bool) -> None:
        """Raise InputError for what only the user can mend: no provenance, or a source that no store has."""
        for target in targets:
            if target.subject.store is None or target.subject.attestation is None:
                raise InputError("snapshot requires an image with provenance", source=SOURCE)
            for one in target.predicate.materials if materials else ():
                kind = classify_material(one)
                is_file = kind in (MaterialKind.HTTP, MaterialKind.BLOB) and one.digest
                if is_file and self._stores.find_file(one) is None and self._stores.find_layout(one) is None:
                    raise _make_missing(one)

    def write(self, folder: Path, targets: Sequence[SnapshotTarget], *, materials: bool) -> None:
        """Write the snapshot of all checked targets; with ``materials``, also the content of their sources."""
        layout = LayoutStore(folder)
        entries = [self._write_target(layout, one, materials=materials) for one in targets]
        if len(entries) == 1:
            root = layout.read_manifest(entries[0]["digest"])
        else:
            root = _put_index(layout, {"manifests": entries})
        layout.list_in_index(root, [LayoutName(tag=_TAG)])

    def list_materials(self, target: SnapshotTarget, *, materials: bool) -> list[tuple[BuildMaterial, bool, int]]:
        """Return the sources with whether they are stored, and their sizes in bytes if they are images."""
        found = []
        for one in target.predicate.materials:
            kind = classify_material(one)
            is_stored = materials and kind not in (MaterialKind.GIT, MaterialKind.UNKNOWN)
            size = _measure(self.find_image(one, target)) if is_stored and kind is MaterialKind.IMAGE else 0
            found.append((one, is_stored, size))
        return found

    def find_image(self, material: BuildMaterial, target: SnapshotTarget) -> MaterialImage:
        """Return an image among the sources: of the explicit stores, else of its registry, by its digest."""
        store: ImageStore | None = self._stores.find_layout(material)
        if store is None:
            if not self._stores.uses_registries:
                raise _make_missing(material)
            try:
                reference = parse_package(material.uri)[0]
                location = RegistryLocation(parse_reference(reference)).select_digest(material.digest)
            except ValueError as error:
                raise RegistryError(f"the provenance has a malformed image {material.uri[:200]!r}: {error}") from error
            store = open_store(self._client, location)
        root = store.read_manifest(material.digest)
        return MaterialImage(store=store, root=root, manifest=_select_manifest(store, root, target))

    def _write_target(self, layout: LayoutStore, target: SnapshotTarget, *, materials: bool) -> dict[str, Any]:
        subject = target.subject
        assert subject.store is not None
        assert subject.attestation is not None
        attestation = subject.attestation["digest"]
        copy = ImageCopy(subject.store, layout)
        copy.add_manifest(attestation)
        copy.run()
        entries: list[dict[str, Any]] = []
        if materials:
            layers, images = self._write_materials(layout, target)
            if not layout.has_blob(_EMPTY_DIGEST):
                layout.put_blob(_EMPTY_DIGEST, _open_empty)
            config = {
                "mediaType": _EMPTY_TYPE,
                "digest": _EMPTY_DIGEST,
                "size": len(_EMPTY),
                "data": base64.b64encode(_EMPTY).decode(),
            }
            document = _put_document(
                layout,
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "artifactType": MATERIALS_TYPE,
                    "config": config,
                    "layers": layers,
                },
            )
            entries = [{**document.descriptor.to_json(), "artifactType": MATERIALS_TYPE}, *images]
        found = layout.read_manifest(attestation)
        described = found.descriptor.to_json()
        if kind := found.fields.get("artifactType"):
            described["artifactType"] = kind
        index = _put_index(layout, {"manifests": entries, "subject": described})
        made = {**index.descriptor.to_json(), "artifactType": SNAPSHOT_TYPE}
        return made | ({"platform": subject.descriptor["platform"]} if "platform" in subject.descriptor else {})

    def _write_materials(
        self, layout: LayoutStore, target: SnapshotTarget
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Copy the sources; return the descriptors of their blobs and of the manifests of images."""
        layers: dict[str, dict[str, Any]] = {}
        images: dict[str, dict[str, Any]] = {}
        for one in target.predicate.materials:
            kind = classify_material(one)
            if kind in (MaterialKind.GIT, MaterialKind.UNKNOWN):
                self._warn_once(f"{one.uri} is not included in the snapshot: it is not an image or a file")
                continue
            if not one.digest:
                raise RegistryError(f"the provenance has no digest of {one.uri[:200]}")
            self._note(one.uri or one.digest)
            if kind is MaterialKind.IMAGE:
                image = self.find_image(one, target)
                layout.put_manifest(image.root.descriptor.digest, image.root)
                layers.setdefault(image.root.descriptor.digest, image.root.descriptor.to_json())
                copy = ImageCopy(image.store, layout)
                copy.add_manifest(image.manifest.descriptor.digest)
                copy.run()
                described = image.manifest.descriptor.to_json()
                images.setdefault(described["digest"], described | _find_platform(image))
            else:
                media_type = _FILE_TYPE if kind is MaterialKind.HTTP else _LAYER_TYPE
                size = self._copy_file(layout, one)
                layers.setdefault(one.digest, {"mediaType": media_type, "digest": one.digest, "size": size})
        return list(layers.values()), list(images.values())

    def _copy_file(self, layout: LayoutStore, material: BuildMaterial) -> int:
        """Copy a source that is a single blob; return its size in bytes. Nothing is fetched from its URL."""
        # The targets are checked, and the layout computes the digest of what it is given.
        path = self._stores.locate_file(material)
        if path is not None:
            size = path.stat().st_size
            if not layout.has_blob(material.digest):
                layout.put_blob(material.digest, lambda: open_file(path, material.digest))
            return size
        store = self._stores.find_layout(material)
        if store is None:
            raise _make_missing(material)
        size = store.measure_blob(material.digest)
        if not layout.has_blob(material.digest):
            layout.put_blob(material.digest, lambda: store.open_blob(material.digest, size))
        return size

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)


def move_layout(source: Path, target: Path) -> None:
    """Move everything of the layout ``source`` into the layout ``target``, its entries last. Raises RegistryError."""
    layout = LayoutStore(target)
    layout.take_blobs(source)
    for entry in list_entries(source):
        layout.list_in_index(layout.read_manifest(entry["digest"]), [LayoutName(tag=_TAG)])


def write_archive(folder: Path, stream: BinaryIO) -> None:
    """Write a layout as a tar archive, in a stable order and without this machine's names, times and modes."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in (folder / "oci-layout", folder / "index.json", *sorted(folder.glob("blobs/**/*"))):
            entry = archive.gettarinfo(path, str(path.relative_to(folder)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            entry.mode = 0o755 if path.is_dir() else 0o644
            if path.is_dir():
                archive.addfile(entry)
                continue
            with path.open("rb") as content:
                archive.addfile(entry, content)


def _select_manifest(store: ImageStore, root: ManifestDocument, target: SnapshotTarget) -> ManifestDocument:
    """Return the manifest that the build read: for its platform, else for that of its builder, else the only one."""
    if not root.is_index:
        return root
    known: dict[Platform, Mapping[str, Any]] = {}
    for entry in root.entries:
        platform = read_platform(entry)
        if platform is not None:
            known.setdefault(platform, entry)
    for platform in (target.subject.platform, target.predicate.builder_platform):
        if platform in known:
            return store.read_manifest(known[platform]["digest"])
    if len(root.entries) == 1:
        return store.read_manifest(root.entries[0]["digest"])
    wanted = target.subject.platform or target.predicate.builder_platform
    raise RegistryError(f"the image {root.descriptor.digest} of the build has no platform {wanted}")


def _find_platform(image: MaterialImage) -> dict[str, Any]:
    for entry in image.root.entries:
        if entry["digest"] == image.manifest.descriptor.digest and "platform" in entry:
            return {"platform": entry["platform"]}
    return {}


def _measure(image: MaterialImage) -> int:
    sizes = [one["size"] for one in image.manifest.blobs] + [image.root.descriptor.size]
    if image.manifest.descriptor.digest != image.root.descriptor.digest:
        sizes.append(image.manifest.descriptor.size)
    return sum(sizes)


def _put_index(layout: LayoutStore, fields: Mapping[str, Any]) -> ManifestDocument:
    head = {"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": SNAPSHOT_TYPE}
    return _put_document(layout, {**head, **fields})


def _put_document(layout: LayoutStore, fields: Mapping[str, Any]) -> ManifestDocument:
    document = parse_document(json.dumps(fields, separators=(",", ":")).encode())
    layout.put_manifest(document.descriptor.digest, document)
    return document


def _open_empty() -> BlobTransfer:
    stream = io.BytesIO(_EMPTY)
    return BlobTransfer(stream.read, stream.close, digest=_EMPTY_DIGEST, size=len(_EMPTY))


def _make_missing(material: BuildMaterial) -> InputError:
    return InputError(
        f"material not found: {material.uri or material.digest}",
        source="--materials",
        fix="name its content: URI=PATH, or a layout that has it",
    )
