"""What a new image is made of: digests, references and descriptors, as ``imagetools create`` takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.gotemplate.kinds import MalformedValue, decode
from ci_buildx.imagetools.kinds import DESCRIPTOR
from ci_buildx.imagetools.location import DIGEST, ImageLocation, parse_location
from ci_buildx.model.documents import parse_json
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.pairs import parse_annotations
from ci_buildx.settings.platforms import read_platform

_TARGETS = ("index", "manifest-descriptor")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """A source as it is given: a ``location``, a ``descriptor`` (data of its kind in Go), or both."""

    text: str
    location: ImageLocation | None = None
    descriptor: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexAnnotation:
    """An annotation of the new index or, with ``on_entries``, of its descriptors, perhaps of one platform's only."""

    key: str
    value: str
    on_entries: bool = False
    platform: Platform | None = None


def parse_source(text: str, *, source: str, cwd: Path, env: Mapping[str, str]) -> ImageSource:
    """Parse a digest, a reference or the JSON of a descriptor. Raises InputError."""
    shown = text.strip()
    if DIGEST.fullmatch(shown):
        return ImageSource(text=shown, descriptor={"Digest": shown})
    if shown.startswith("{"):
        return ImageSource(text=shown, descriptor=_parse_descriptor(shown, source))
    if shown.startswith("sha256"):
        raise InputError(f"{shown!r} is not a digest", source=source, fix="a digest has 64 hexadecimal digits")
    return ImageSource(text=shown, location=parse_location(shown, source=source, cwd=cwd, env=env))


def _parse_descriptor(text: str, source: str) -> dict[str, Any]:
    try:
        document = parse_json(text)
        data: dict[str, Any] = decode(DESCRIPTOR, document)
    except MalformedValue as error:
        raise InputError(f"malformed descriptor: {error}", source=source) from error
    except ValueError:
        raise InputError("malformed descriptor: it is not JSON", source=source) from None
    if isinstance(document, dict) and document.get("schemaVersion"):
        raise InputError(
            "expected a descriptor, got a manifest or index",
            source=source,
            fix="name its digest, or write mediaType, digest and size",
        )
    if not DIGEST.fullmatch(data.get("Digest", "")):
        raise InputError(f"a descriptor has the digest {data.get('Digest', '')!r}, which is invalid", source=source)
    return data


def parse_index_annotations(texts: Sequence[str], *, source: str) -> tuple[IndexAnnotation, ...]:
    """Parse ``index:K=V`` and ``manifest-descriptor[linux/amd64]:K=V``. Raises InputError.

    Manifests are not changed: their digests would differ from what was tested and signed.
    """
    found = []
    for name, value in parse_annotations([text for text in texts if text], source=source):
        target, colon, key = name.partition(":")
        kind, _, platform = target.partition("[")
        if not colon or kind not in _TARGETS:
            shown = f"annotations of {kind!r}" if colon else f"annotation {name!r} has no target: manifests"
            raise InputError(
                f"{shown} cannot be changed",
                source=source,
                fix="write index:KEY=VALUE or manifest-descriptor:KEY=VALUE",
            )
        found.append(
            IndexAnnotation(
                key=key,
                value=value,
                on_entries=kind == "manifest-descriptor",
                platform=read_platform(platform.removesuffix("]"), source=source) if platform else None,
            )
        )
    return tuple(found)


def locate_sources(sources: Sequence[ImageSource], targets: Sequence[ImageLocation]) -> list[ImageSource]:
    """Add a location to sources that are only a digest or a descriptor: the only repository of the command.

    As in buildx 0.38.2 (``commands/imagetools/create.go``). Raises InputError if there is none, or more than one.
    """
    known = {str(one.name): one for one in (*(each.location for each in reversed(sources)), *targets) if one}
    located = []
    for one in sources:
        if one.location is None:
            if not known:
                raise InputError(f"no repository for {one.text!r}", fix="add --tag, or a source with its repository")
            if len(known) > 1:
                names = ", ".join(sorted(known))
                raise InputError(
                    f"several repositories ({names}): that of {one.text!r} is unknown",
                    fix="write it as REPOSITORY@DIGEST",
                )
            assert one.descriptor is not None
            (only,) = known.values()
            one = replace(one, location=only.select_digest(one.descriptor["Digest"]))
        located.append(one)
    return located
