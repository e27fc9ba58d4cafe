"""All outputs of metadata-action, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ci_buildx.ci.metadata import expressions, tagging
from ci_buildx.ci.metadata.facts import CommitFacts
from ci_buildx.ci.metadata.rules import parse_flavor, parse_images, parse_rules
from ci_buildx.ci.metadata.tagging import TagDecision
from ci_buildx.model.record import dataclass

BAKE_TARGET = "docker-metadata-action"
DEFAULT_LEVELS = ("manifest",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataInputs:
    """The inputs, one entry per line; ``source`` names the rules' input in errors."""

    images: Sequence[str] = ()
    rules: Sequence[str] = ()
    flavor: Sequence[str] = ()
    labels: Sequence[str] = ()
    annotations: Sequence[str] = ()
    levels: Sequence[str] = DEFAULT_LEVELS
    source: str = "tag-rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """Names, labels and annotations of an image.

    ``tag_names`` lack the image's name; ``annotations`` begin with their level.
    """

    version: str
    images: tuple[str, ...]
    tags: tuple[str, ...]
    tag_names: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content of the output ``json``."""
        return {
            "tags": list(self.tags),
            "tag-names": list(self.tag_names),
            "labels": dict(self.labels),
            "annotations": list(self.annotations),
        }

    def make_bake_files(self, target: str = BAKE_TARGET) -> dict[str, dict[str, Any]]:
        """Return definitions for ``buildx bake``, by the name of the output that holds their path."""
        arguments = {"DOCKER_META_IMAGES": ",".join(self.images), "DOCKER_META_VERSION": self.version}
        tags = {"tags": list(self.tags), "args": arguments}
        labels = {"labels": dict(self.labels)}
        parts = {
            "bake-file-tags": tags,
            "bake-file-labels": labels,
            "bake-file-annotations": {"annotations": list(self.annotations)},
            "bake-file": {**tags, **labels},
        }
        return {name: {"target": {target: part}} for name, part in parts.items()}


def make_metadata(wanted: MetadataInputs, facts: CommitFacts) -> ImageMetadata:
    """Make an image's metadata from the inputs and facts. Raises InputError."""
    flavor = parse_flavor(wanted.flavor, source="flavor")
    found = tagging.decide_tags(parse_rules(wanted.rules, source=wanted.source), flavor, facts, source=wanted.source)
    images = parse_images(wanted.images, source="images")
    names = _make_names(found)
    return ImageMetadata(
        version=found.main,
        images=images,
        tags=tuple(f"{image}:{name}" for image in images for name in names) if images else names,
        tag_names=names,
        labels=_make_labels(wanted.labels, found, facts, source="labels"),
        annotations=tuple(
            f"{level}:{key}={value}"
            for level in wanted.levels
            for key, value in _make_labels(wanted.annotations, found, facts, source="annotations")
        ),
        warnings=found.warnings,
    )


def _make_names(found: TagDecision) -> tuple[str, ...]:
    if not found.main:
        return ()
    return (found.main, *found.partial, *((found.latest,) if found.latest else ()))


def _make_labels(
    custom: Iterable[str], found: TagDecision, facts: CommitFacts, *, source: str
) -> tuple[tuple[str, str], ...]:
    """Return the OCI image-spec's pre-defined keys; the user's own override them."""
    repository = facts.repository
    now = facts.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    of_image = {
        "title": repository.title,
        "description": repository.description,
        "url": repository.url,
        "source": repository.url,
        "version": found.main,
        "created": now,
        "revision": facts.sha,
        "licenses": repository.license,
    }
    marks = {f"org.opencontainers.image.{name}": value for name, value in of_image.items()}
    names = expressions.make_global_values(facts, source=source)
    for line in custom:
        key, equals, value = expressions.evaluate(line, names, source=source).partition("=")
        if equals:
            marks[key] = value
    return tuple(sorted(marks.items()))
