"""Makes a new image from existing ones: reads the sources, copies what is missing, publishes the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.imagetools.combine import (
    ATTESTATION,
    CombinedImage,
    LoadedSource,
    combine_sources,
    find_origin,
    select_platforms,
)
from ci_buildx.imagetools.location import ImageLocation, LayoutLocation, RegistryLocation
from ci_buildx.imagetools.sources import ImageSource, IndexAnnotation, locate_sources
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass
from ci_buildx.progress.display import BuildDisplay, DisplayPhase
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import ManifestDocument, parse_document
from ci_buildx.registry.copies import ImageCopy
from ci_buildx.registry.layouts import LayoutStore
from ci_buildx.registry.stores import ImageStore, RegistryStore

COPIED = frozenset(
    {
        ATTESTATION,
        "application/vnd.dev.cosign.artifact.sig.v1+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
    }
)
"""Artifact types that are copied with what they refer to (buildx 0.38.2, ``util/imagetools/create.go``)."""
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A new image: of which ``sources``, for which ``platforms`` ((): all), with which ``annotations``.

    Docker's list has no annotations: with ``keeps_docker_list`` they are dropped if all sources have Docker's types,
    else the index is OCI's.
    """

    sources: tuple[ImageSource, ...]
    targets: tuple[ImageLocation, ...] = ()
    annotations: tuple[IndexAnnotation, ...] = ()
    prefer_index: bool = True
    keeps_docker_list: bool = True
    platforms: tuple[Platform, ...] = ()


def open_store(client: RegistryClient, location: ImageLocation) -> ImageStore:
    """Return the store of a location."""
    if isinstance(location, LayoutLocation):
        return LayoutStore(location.folder)
    return RegistryStore(client, RegistryRepository.from_reference(location.reference))


def combine_image(client: RegistryClient, request: ImageRequest) -> CombinedImage:
    """Read the sources and combine them; nothing is written.

    Raises InputError for sources without a repository, or a target with the digest of another image; RegistryError.
    """
    located = locate_sources(request.sources, request.targets)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="source") as pool:
        loaded = list(pool.map(lambda one: _load_source(client, one), located))
    made = combine_sources(
        loaded,
        annotations=request.annotations,
        prefer_index=request.prefer_index,
        keeps_docker_list=request.keeps_docker_list,
    )
    image = select_platforms(made, request.platforms)
    for target in request.targets:
        if target.digest not in ("", image.descriptor["Digest"]):
            message = f"target {target} requested digest {target.digest} but produced {image.descriptor['Digest']}"
            raise InputError(message, source="--tag", fix="correct the digest or name a tag")
    return image


def _load_source(client: RegistryClient, source: ImageSource) -> LoadedSource:
    location = source.location
    assert location is not None
    store = open_store(client, location)
    document = store.read_manifest(location.digest or location.tag)
    found = document.descriptor
    given = {name: value for name, value in (source.descriptor or {}).items() if value}
    if given.get("Size", found.size) != found.size:
        raise RegistryError(f"{found.digest} has {found.size} bytes, but its descriptor declares {given['Size']}")
    descriptor = {"MediaType": found.media_type, "Digest": found.digest, "Size": found.size, **given}
    return LoadedSource(store=store, name=str(location), document=document, descriptor=descriptor)


def publish_image(
    client: RegistryClient, image: CombinedImage, targets: Sequence[ImageLocation], display: BuildDisplay
) -> None:
    """Copy everything that the image needs into each target's repository, then publish it under all names.

    Raises RegistryError that lists the names published before one failed.
    """
    document = parse_document(image.body, image.descriptor["MediaType"])
    by_name: dict[str, list[ImageLocation]] = {}
    for target in targets:
        by_name.setdefault(target.name, []).append(target)
    done: list[str] = []
    try:
        for name, group in by_name.items():
            with display.begin_phase(f"pushing {name}") as phase:
                _publish_in_store(client, image, document, group, phase, done)
    except RegistryError as error:
        published = f"published already: {', '.join(done)}" if done else "no names were published"
        raise RegistryError(f"{error.message} ({published})", status=error.status, fix=error.fix) from error


def _publish_in_store(
    client: RegistryClient,
    image: CombinedImage,
    document: ManifestDocument,
    targets: Sequence[ImageLocation],
    phase: DisplayPhase,
    done: list[str],
) -> None:
    store = open_store(client, targets[0])
    copies = _copy_manifests(image, store, targets[0].name, phase.add_output)
    for target in targets:
        phase.add_output(f"pushing {image.descriptor['Digest']} to {target}")
        _publish(store, target, document)
        done.append(str(target))
    for copy in copies:
        copy.link_referrers()


def _copy_manifests(
    image: CombinedImage, target: ImageStore, name: str, report: Callable[[str], None]
) -> list[ImageCopy]:
    """Copy the manifests of the image, each from its source, with attestations and signatures of them."""
    by_source: dict[int, tuple[ImageCopy, LoadedSource]] = {}
    listed = [one for one in image.origins if one != image.descriptor["Digest"] or not image.is_index]
    for digest in listed:
        origin = find_origin(image, digest)
        if _is_same(origin.store, target):
            continue
        report(f"copying {digest} from {origin.name} to {name}")
        copy, _ = by_source.setdefault(id(origin), (ImageCopy(origin.store, target, artifact_types=COPIED), origin))
        copy.add_manifest(digest)
    copies = [copy for copy, _ in by_source.values()]
    for copy in copies:
        copy.run()
    return copies


def _is_same(source: ImageStore, target: ImageStore) -> bool:
    if isinstance(source, RegistryStore) and isinstance(target, RegistryStore):
        return source.repository == target.repository
    return isinstance(source, LayoutStore) and isinstance(target, LayoutStore) and source.folder == target.folder


def _publish(store: ImageStore, target: ImageLocation, document: ManifestDocument) -> None:
    digest = document.descriptor.digest
    if isinstance(target, RegistryLocation):
        store.put_manifest(target.tag or digest, document)
        return
    assert isinstance(store, LayoutStore)
    store.put_manifest(target.tag or digest, document)
    if not target.tag:
        store.list_in_index(document)
