"""How big an image is that was pushed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ci_buildx.errors import KubeBuilderError
from ci_buildx.job.result import BuildResult

if TYPE_CHECKING:
    from ci_buildx.registry.content import Document
    from ci_buildx.settings.builder import BuilderSettings


def measure(result: BuildResult, builder: BuilderSettings, env: Mapping[str, str]) -> dict[str, int]:
    """Compressed bytes of each platform's image, {} where the registry does not say."""
    from ci_buildx.builder import registries
    from ci_buildx.model import reference
    from ci_buildx.registry import credentials
    from ci_buildx.registry.client import RegistryClient, Repository
    from ci_buildx.registry.content import platform_of

    sizes: dict[str, int] = {}
    try:
        home = Repository.of(reference.parse(result.references[0]))
        with RegistryClient(credentials.load(env), trust=registries.trust_by_settings(builder)) as client:
            document = client.manifest(home, result.digest)
            if not document.is_index:
                return {str(platform): _size(document) for platform in result.platforms[:1]}
            for entry in document.entries:
                platform = platform_of(entry)
                if platform is not None:
                    sizes[str(platform)] = _size(client.manifest(home, entry["digest"]))
    except KubeBuilderError:
        return {}
    return sizes


def _size(manifest: Document) -> int:
    return sum(int(blob.get("size", 0)) for blob in manifest.blobs)
