"""Description of an image before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devcluster.images.layer import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A layer's entries.

    Images that only cluster nodes pull are uncompressed: on one machine gzip costs more than it saves.
    """

    entries: tuple[Entry, ...]
    compressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The image for one architecture, such as `arm64` or `arm/v7`.

    `settings` is the container part of the OCI configuration.
    """

    architecture: str
    layers: tuple[Content, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image with all its tags; several variants form an index."""

    repository: str
    tags: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def references(self) -> tuple[str, ...]:
        """Its names as users write them, without a registry."""
        return tuple(f"{self.repository}:{tag}" for tag in self.tags)
