"""Images that several jobs pushed by digest, merged under their final names.

The digests arrive as texts or in files: metadata files of the jobs' builds, or empty files named after the digest,
as docker's documentation passes them ("Distribute build across multiple runners").
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ci_buildx.build.result import DESCRIPTOR, DIGEST, NAME
from ci_buildx.errors import InputError
from ci_buildx.imagetools import location
from ci_buildx.imagetools.combine import CombinedImage, check_annotations
from ci_buildx.imagetools.create import ImageRequest, combine_image, publish_image
from ci_buildx.imagetools.kinds import encode_descriptor
from ci_buildx.imagetools.location import RegistryLocation
from ci_buildx.imagetools.sources import ImageSource, IndexAnnotation
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference, parse_reference
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.content import parse_document, read_platform
from ci_buildx.settings.assembly import make_builder_settings
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.pairs import parse_annotations

if TYPE_CHECKING:
    from ci_buildx.settings.raw_values import RawValues
    from ci_buildx.settings.values import ProgressMode

MOST_FILES = 1000
"""Maximum number of files that are searched for digests."""
_LARGEST = 1 << 20
"""Maximum size of a metadata file in bytes."""
_FIX = "name a digest, a metadata file of a build, or a folder with such files"
_HEXADECIMAL = compile_lazily(r"[0-9a-f]{64}")
_ATTESTS = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    """What to merge: ``digests`` in ``repository``, under the names ``tags``.

    ``platforms`` must be among the result's, which may have more.
    """

    digests: tuple[str, ...]
    repository: ImageReference
    tags: tuple[ImageReference, ...]
    annotations: tuple[IndexAnnotation, ...] = ()
    platforms: tuple[Platform, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedImage:
    """The index of all jobs' images, and the names under which it is published."""

    image: CombinedImage
    names: tuple[str, ...]
    platforms: tuple[Platform, ...]

    @property
    def digest(self) -> str:
        """The index's digest."""
        return str(self.image.descriptor["Digest"])

    @property
    def metadata(self) -> dict[str, Any]:
        """The content of the metadata file, with the keys of a build's."""
        return {
            DESCRIPTOR: encode_descriptor(self.image.descriptor),
            DIGEST: self.digest,
            NAME: ",".join(self.names),
        }

    def list_lines(self) -> list[str]:
        """Return a summary for the log."""
        rows = [*(("image", name) for name in self.names), ("digest", self.digest)]
        rows.append(("platforms", ", ".join(map(str, self.platforms))))
        return [f"{name:<10}{value}" for name, value in rows]


def make_request(
    digests: Sequence[str],
    tags: Sequence[str],
    *,
    repository: str = "",
    annotations: Sequence[str] = (),
    platforms: tuple[Platform, ...] = (),
    sources: Mapping[str, str],
) -> MergeRequest:
    """Check the names and return the request; ``sources`` are the names of the options, for errors.

    Without ``repository``, the digests are in the first tag's. Raises InputError.
    """
    names = [_parse_name(text, source=sources["tags"]) for text in tags]
    if not names:
        raise InputError("missing name of the image", source=sources["tags"], fix="write REGISTRY/NAME:TAG")
    if not digests:
        raise InputError("missing digests", source=sources["digests"], fix=_FIX)
    home = _parse_name(repository, source=sources["repository"]) if repository else names[0]
    return MergeRequest(
        digests=tuple(dict.fromkeys(digests)),
        repository=ImageReference(home.domain, home.path),
        tags=tuple(dict.fromkeys(names)),
        annotations=_read_annotations(annotations, source=sources["annotations"]),
        platforms=platforms,
    )


def read_request(given: RawValues) -> MergeRequest:
    """Read what to merge from the inputs of a step or job. Raises InputError."""
    from ci_buildx.settings.platforms import parse_platforms

    names = {"tags": "tags", "digests": "digests", "annotations": "annotations", "repository": "from"}
    sources = {name: given.find_source(option) for name, option in names.items()}
    found = read_digests(given.read_texts("digests"), source=sources["digests"], cwd=given.cwd, env=given.env)
    return make_request(
        found,
        given.read_texts("tags"),
        repository=given.read_text("from"),
        annotations=given.read_texts("annotations"),
        platforms=parse_platforms(given.read_texts("platforms"), source=given.find_source("platforms")),
        sources=sources,
    )


def _parse_name(text: str, *, source: str) -> ImageReference:
    try:
        name = parse_reference(text)
    except ValueError as error:
        raise InputError(f"invalid name {text!r}: {error}", source=source) from error
    if name.digest:
        raise InputError(f"{text!r} has a digest", source=source, fix="omit it")
    return name.add_default_tag()


def _read_annotations(texts: Sequence[str], *, source: str) -> tuple[IndexAnnotation, ...]:
    """Read annotations of the index, also those that metadata rules made for the manifests of a build."""
    found: dict[str, str] = {}
    for name, value in parse_annotations(texts, source=source):
        target, colon, key = name.partition(":")
        if colon and target not in ("index", "manifest"):
            raise InputError(
                f"annotation target {target!r} is not supported", source=source, fix="a merge annotates the index"
            )
        found[key if colon else name] = value
    return tuple(IndexAnnotation(key=key, value=value) for key, value in found.items())


def read_digests(texts: Sequence[str], *, source: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    """Return the digests that texts name: digests, or files and folders that contain them.

    Raises InputError for a text that is neither, a file without a digest, and a folder without any.
    """
    found: list[str] = []
    for text in texts:
        if location.DIGEST.fullmatch(text):
            found.append(text)
            continue
        path = refuse_escape(cwd / text, source=source, env=env)
        if path.is_dir():
            digests = [digest for file in _list_files(path, source) if (digest := _read_file(file, source))]
            if not digests:
                raise InputError(f"folder {text!r} contains no digests", source=source, fix=_FIX)
            found += digests
        elif path.is_file():
            digest = _read_file(path, source)
            if not digest:
                raise InputError(f"file {text!r} contains no digest", source=source, fix=_FIX)
            found.append(digest)
        else:
            raise InputError(f"{text!r} is neither a digest nor a file", source=source, fix=_FIX)
    return list(dict.fromkeys(found))


def _list_files(folder: Path, source: str) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, by name; links are not followed."""
    files = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(place, name) for name in sorted(names)]
        if len(files) > MOST_FILES:
            raise InputError(f"{folder} has more than {MOST_FILES} files", source=source, fix="name a smaller folder")
    return iter([file for file in files if file.is_file() and not file.is_symlink()])


def _read_file(path: Path, source: str) -> str:
    """Return the digest that a file contains or is named after, "" if there is none. Raises InputError."""
    try:
        if path.stat().st_size == 0:
            return f"sha256:{path.name}" if _HEXADECIMAL.fullmatch(path.name) else ""
        if path.stat().st_size > _LARGEST:
            return ""
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"cannot read {str(path)!r}: {reason}", source=source) from error
    if location.DIGEST.fullmatch(text):
        return text
    try:
        document = parse_json(text)
    except ValueError:
        return ""
    digest = document.get(DIGEST) if isinstance(document, dict) else None
    return digest if isinstance(digest, str) and location.DIGEST.fullmatch(digest) else ""


def merge_digests(
    client: RegistryClient, request: MergeRequest, display: BuildDisplay, *, publish: bool = True
) -> MergedImage:
    """Merge the images and publish the index under all names; without ``publish``, only merge.

    Raises InputError if two images have the same platform, or a required platform is missing; RegistryError.
    """
    home = RegistryLocation(request.repository)
    targets = tuple(map(RegistryLocation, request.tags))
    image = combine_image(
        client,
        ImageRequest(
            sources=tuple(ImageSource(text=digest, location=home.select_digest(digest)) for digest in request.digests),
            targets=targets,
            annotations=request.annotations,
            keeps_docker_list=False,
        ),
    )
    assert not check_annotations(image)
    platforms = _check_platforms(image, request)
    if publish:
        publish_image(client, image, targets, display)
    return MergedImage(image=image, names=tuple(map(str, request.tags)), platforms=platforms)


def run_merge(
    request: MergeRequest,
    given: RawValues,
    *,
    env: Mapping[str, str],
    mode: ProgressMode,
    display_stream: TextIO,
    hidden: Sequence[str] = (),
) -> MergedImage:
    """Merge as a CI job: with the logins of ``env``, and registries as the inputs declare them."""
    from ci_buildx.builder.manifests.buildkitd import make_registry_trust
    from ci_buildx.model import masker
    from ci_buildx.progress.display import open_display
    from ci_buildx.registry.credentials import load_credentials

    builder = make_builder_settings(given.select_build_options(), given.sources, env, given.cwd)
    secrets = (*masker.find_environment_secrets(env), *hidden)
    display = open_display(mode, display_stream, env=env, hidden=masker.list_spellings(secrets))
    try:
        with RegistryClient(load_credentials(env), trust=make_registry_trust(builder)) as client:
            merged = merge_digests(client, request, display)
    except BaseException as error:
        display.close(error)
        raise
    display.close()
    return merged


def _check_platforms(image: CombinedImage, request: MergeRequest) -> tuple[Platform, ...]:
    found: dict[tuple[Platform, str], str] = {}
    for entry in parse_document(image.body, image.descriptor["MediaType"]).entries:
        platform = read_platform(entry)
        if platform is None or _ATTESTS in (entry.get("annotations") or {}):
            continue
        key = (platform, str(entry["platform"].get("os.version", "")))
        if key in found:
            message = f"two images are for {platform}: {found[key]} and {entry['digest']}"
            raise InputError(message, fix="remove the digest of the older one")
        found[key] = entry["digest"]
    platforms = tuple(dict.fromkeys(platform for platform, _ in found))
    if missing := [str(one) for one in request.platforms if one not in platforms]:
        raise InputError(f"no image for {', '.join(missing)}", fix="check that its job ran and passed its digest on")
    return platforms


def format_metadata(merged: MergedImage) -> str:
    """Format the metadata file."""
    return json.dumps(merged.metadata, indent=2) + "\n"
