"""A node's caches, and the folders here that hold OCI layouts: caches of ``type=local``, outputs with ``tar=false``.

Source: BuildKit 0.34.2, ``client/solve.go`` (``parseCacheOptions``, ``solve``). What several nodes export is merged
(:mod:`ci_buildx.job.merged_caches`), or has names of their own (:mod:`ci_buildx.buildkit.cache_names`). Folders that
several nodes wrote before that have a tag for each: ``latest-linux-arm64`` for ``latest``; imports look for both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ci_buildx.builder.plan import NodePlan
from ci_buildx.buildkit import actions_cache
from ci_buildx.errors import BuildkitError, KubeBuilderError
from ci_buildx.job.origin import TRUST_SCOPE
from ci_buildx.job.result import DESCRIPTOR, NAME
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.values import Attributes, BuildSettings

if TYPE_CHECKING:
    from ci_buildx.session.content_layout import Layout

_LOCAL = "local"
_LATEST = "latest"
_EXPORTED = "export"
CACHE = "cache.manifest"
"""What a response calls the manifest of a cache that was exported."""
_NO_ACTIONS = "the cache of type=gha is left out: ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set here"
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """``imports`` and ``exports`` as they are sent; ``layouts`` by the id under which buildkitd asks for them."""

    imports: tuple[Attributes, ...]
    exports: tuple[Attributes, ...]
    layouts: Mapping[str, Layout]


def known_platforms(node: NodePlan) -> tuple[Platform, ...]:
    """What a node builds, its native platform first; where no platform was named that is all."""
    native = node.native
    if not node.platforms:
        return (Platform("linux", native),) if native else ()
    return tuple(sorted(node.platforms, key=lambda platform: platform.architecture != native))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One node's caches and layouts.

    ``platforms`` are those that it builds, the one that its caches are known by first; ``all_platforms`` those of the
    whole build; ``several`` says that other nodes build, too.
    """

    build: BuildSettings
    layout: Path | None
    platforms: Sequence[Platform]
    all_platforms: Sequence[Platform] = ()
    several: bool

    def prepare(self, env: Mapping[str, str], *, warn: Callable[[str], None]) -> Caches:
        """Look into the folders and the environment. A cache that cannot be imported is left out with a warning."""
        layouts: dict[str, Layout] = {}
        trust = env.get(TRUST_SCOPE, "")
        wanted = self.wanted()
        sources = actions_cache.complete(wanted.cache_from, env, trust=trust)
        targets = actions_cache.complete(wanted.cache_to, env, trust=trust)
        if len(sources) + len(targets) < len(wanted.cache_from) + len(wanted.cache_to):
            warn(_NO_ACTIONS)
        imports = [
            found
            for cache in sources
            for found in (self._imported(cache, layouts, warn) if cache.type == _LOCAL else [cache])
        ]
        exports = [_exported(cache, layouts) if cache.type == _LOCAL else cache for cache in targets]
        if self.layout is not None:
            layouts[_EXPORTED] = _writable(self.layout)
        return Caches(imports=tuple(imports), exports=tuple(exports), layouts=layouts)

    def wanted(self) -> BuildSettings:
        """The build with this node's names of caches."""
        if not (self.build.cache_from or self.build.cache_to):
            return self.build
        from ci_buildx.buildkit import cache_names

        sources = cache_names.read_all(self.build.cache_from, self.all_platforms or self.platforms)
        targets = self.build.cache_to
        if self.several and targets:
            targets = cache_names.write_own(targets, self.platforms[0])
        return replace(self.build, cache_from=sources, cache_to=targets)

    def keep(self, response: Mapping[str, str]) -> None:
        """Name what the build has written. KubeBuilderError if an index cannot be written."""
        folders = [cache for cache in self.build.cache_to if cache.type == _LOCAL]
        if folders and response.get(CACHE) and not self.several:
            descriptor = read_descriptor(response[CACHE])
            for cache in folders:
                put_cache(cache, descriptor)
        if self.layout is not None and response.get(DESCRIPTOR):
            descriptor = read_descriptor(base64.b64decode(response[DESCRIPTOR]))
            images = [name for name in response.get(NAME, "").split(",") if name]
            _put(self.layout, descriptor, images=images, tags=[] if images else [_LATEST])

    def _own(self, tag: str) -> str:
        return "-".join((tag, *(str(platform).replace("/", "-") for platform in self.platforms)))

    def _imported(
        self, cache: Attributes, layouts: dict[str, Layout], warn: Callable[[str], None]
    ) -> Iterator[Attributes]:
        """The cache once for each content that its tags name."""
        from ci_buildx.session.content_layout import Layout, Refused

        folder = Path(cache.get("src"))
        layout = Layout(folder)
        reason = f"it has no {cache.get('digest') or cache.get('tag', _LATEST)}"
        digests = []
        try:
            digests = [digest for digest in self._digests(cache, folder) if layout.has(digest)]
        except (KubeBuilderError, Refused) as error:
            reason = str(error)
        if not digests:
            warn(f"the cache in {folder} is left out: {reason}")
        name = _wire_name(folder)
        for digest in digests:
            layouts.setdefault(f"{_LOCAL}:{name}", layout)
            yield _with(cache, src=name, digest=digest)

    def _digests(self, cache: Attributes, folder: Path) -> list[str]:
        from ci_buildx.session import content_index

        if cache.get("digest"):
            return [cache.get("digest")]
        tag = cache.get("tag", _LATEST)
        found = (content_index.find(folder, each) for each in (self._own(tag), tag))
        return [digest for digest in dict.fromkeys(found) if digest]


def _exported(cache: Attributes, layouts: dict[str, Layout]) -> Attributes:
    folder = Path(cache.get("dest"))
    name = _wire_name(folder)
    layouts[f"{_LOCAL}:{name}"] = _writable(folder)
    return _with(cache, dest=name)


def _writable(folder: Path) -> Layout:
    from ci_buildx.session.content_layout import Layout

    return Layout(folder, writable=True)


def _wire_name(folder: Path) -> str:
    """The folder as gRPC's metadata can carry it, where buildkitd will repeat it."""
    return quote(str(folder), safe=_PRINTABLE, errors="surrogateescape")


def _with(cache: Attributes, **changes: str) -> Attributes:
    return Attributes(type=cache.type, attrs=tuple((dict(cache.attrs) | changes).items()))


def put_cache(cache: Attributes, descriptor: Mapping[str, Any]) -> None:
    """Give what was exported to a folder its tag. KubeBuilderError if the index cannot be written."""
    _put(Path(cache.get("dest")), descriptor, tags=[cache.get("tag", _LATEST)])


def _put(folder: Path, descriptor: Mapping[str, Any], *, tags: Sequence[str], images: Sequence[str] = ()) -> None:
    from ci_buildx.session import content_index
    from ci_buildx.session.content_index import Name

    names = [Name.of_image(image) for image in images] + [Name(tag=tag) for tag in tags]
    content_index.put(folder, descriptor, names)


def read_descriptor(text: str | bytes) -> dict[str, Any]:
    """A descriptor that buildkitd has answered with. Raises BuildkitError."""
    try:
        descriptor = json.loads(text)
    except ValueError:
        descriptor = None
    if not isinstance(descriptor, dict):
        raise BuildkitError("buildkitd named what it has exported by something else than JSON")
    return descriptor
