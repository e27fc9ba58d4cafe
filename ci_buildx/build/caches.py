"""Cache options of one node: ``type=gha`` and ``s3`` completed from the job's environment, and local folders.

Source: buildx 0.38.2, ``build/opt.go`` (``addGithubToken``, ``addAwsCredentials``, ``isActive``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.build.result import DESCRIPTOR, NAME
from ci_buildx.builder.plan import NodePlan
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.errors import BuildkitError, KubeBuilderError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.values import BuildSettings, TypedAttributes

if TYPE_CHECKING:
    from ci_buildx.session.oci_layout import OciLayout

GHA = "gha"
S3 = "s3"
_AWS = ("access_key_id", "secret_access_key", "session_token")
DEFAULT_SCOPE = "buildkit"
"""BuildKit's own default (0.34.2, ``cache/remotecache/gha/gha.go``)."""


def complete_actions_caches(
    caches: Iterable[TypedAttributes], env: Mapping[str, str], *, trust: str = ""
) -> tuple[TypedAttributes, ...]:
    """Add the attributes that ``type=gha`` and ``s3`` need and users need not type; some of them are secret.

    A ``trust`` scope is appended to the scope of each ``gha`` cache, so that its runs share no cache with others. A
    ``gha`` cache without token or URL is dropped: it does not exist outside of GitHub Actions.
    """
    opened = (_add_credentials(cache, env) if cache.type == S3 else cache for cache in caches)
    completed = (_add_scope(_complete_cache(cache, env), trust) if cache.type == GHA else cache for cache in opened)
    return tuple(cache for cache in completed if cache.type != GHA or _is_usable(cache))


def _complete_cache(cache: TypedAttributes, env: Mapping[str, str]) -> TypedAttributes:
    found = {"token": env.get("ACTIONS_RUNTIME_TOKEN"), "url": env.get("ACTIONS_CACHE_URL")}
    found["url"] = found["url"] or env.get("ACTIONS_RESULTS_URL")
    if _uses_service_v2(cache, env):
        found["url_v2"] = env.get("ACTIONS_RESULTS_URL")
    typed = dict(cache.attrs)
    added = tuple((name, value) for name, value in found.items() if value and name not in typed)
    return TypedAttributes(type=cache.type, attrs=(*cache.attrs, *added))


def _add_credentials(cache: TypedAttributes, env: Mapping[str, str]) -> TypedAttributes:
    """Add AWS's credentials unless both keys are typed; profiles and metadata services are not queried."""
    typed = dict(cache.attrs)
    if "access_key_id" in typed and "secret_access_key" in typed:
        return cache
    found = ((name, env.get(f"AWS_{name.upper()}", "")) for name in _AWS)
    added = tuple((name, value) for name, value in found if value and name not in typed)
    return TypedAttributes(type=cache.type, attrs=(*cache.attrs, *added))


def _add_scope(cache: TypedAttributes, trust: str) -> TypedAttributes:
    if not trust:
        return cache
    attrs = {**dict(cache.attrs), "scope": f"{cache.get('scope', DEFAULT_SCOPE)}@{trust}"}
    return TypedAttributes(type=cache.type, attrs=tuple(attrs.items()))


def _uses_service_v2(cache: TypedAttributes, env: Mapping[str, str]) -> bool:
    """Return whether to use version 2 of the cache service: as typed, else as the runner's environment says."""
    typed = cache.get("version")
    return typed == "2" if typed else is_true(env.get("ACTIONS_CACHE_SERVICE_V2", ""))


def _is_usable(cache: TypedAttributes) -> bool:
    return bool(cache.get("token") and (cache.get("url") or cache.get("url_v2")))


_LOCAL = "local"
_LATEST = "latest"
_EXPORTED = "export"
CACHE = "cache.manifest"
"""Key of an exported cache's manifest in a response."""
_NO_ACTIONS = "the cache of type=gha is skipped: ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set here"
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptionsOfBuild:
    """``imports`` and ``exports`` as they are sent; ``layouts`` by the id under which buildkitd requests them."""

    imports: tuple[TypedAttributes, ...]
    exports: tuple[TypedAttributes, ...]
    layouts: Mapping[str, OciLayout]


def list_platforms(node: NodePlan) -> tuple[Platform, ...]:
    """Return the platforms that a node builds, its native one first; only that if no platform was requested."""
    native = node.native
    if not node.platforms:
        return (Platform("linux", native),) if native else ()
    return tuple(sorted(node.platforms, key=lambda platform: platform.architecture != native))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCaches:
    """One node's caches and layouts.

    ``platforms`` are those that it builds; the first one names its caches. ``all_platforms`` are those of the whole
    build. ``several`` is true if other nodes build, too.
    """

    build: BuildSettings
    layout: Path | None
    platforms: Sequence[Platform]
    all_platforms: Sequence[Platform] = ()
    several: bool

    def prepare(self, env: Mapping[str, str], *, warn: Callable[[str], None]) -> CacheOptionsOfBuild:
        """Read the folders and the environment. A cache that cannot be imported is left out with a warning."""
        layouts: dict[str, OciLayout] = {}
        trust = env.get(TRUST_SCOPE, "")
        wanted = self.apply()
        sources = complete_actions_caches(wanted.cache_from, env, trust=trust)
        targets = complete_actions_caches(wanted.cache_to, env, trust=trust)
        if len(sources) + len(targets) < len(wanted.cache_from) + len(wanted.cache_to):
            warn(_NO_ACTIONS)
        imports = [
            found
            for cache in sources
            for found in (self._expand_import(cache, layouts, warn) if cache.type == _LOCAL else [cache])
        ]
        exports = [_prepare_export(cache, layouts) if cache.type == _LOCAL else cache for cache in targets]
        if self.layout is not None:
            layouts[_EXPORTED] = _check_writable(self.layout)
        return CacheOptionsOfBuild(imports=tuple(imports), exports=tuple(exports), layouts=layouts)

    def apply(self) -> BuildSettings:
        """Return the build settings with this node's cache names."""
        if not (self.build.cache_from or self.build.cache_to):
            return self.build
        from ci_buildx.buildkit import remote_cache

        sources = remote_cache.read_all(self.build.cache_from, self.all_platforms or self.platforms)
        targets = self.build.cache_to
        if self.several and targets:
            targets = remote_cache.write_own(targets, self.platforms[0])
        return replace(self.build, cache_from=sources, cache_to=targets)

    def keep(self, response: Mapping[str, str]) -> None:
        """Tag the caches and images that the build wrote to folders. KubeBuilderError if an index cannot be written."""
        folders = [cache for cache in self.build.cache_to if cache.type == _LOCAL]
        if folders and response.get(CACHE) and not self.several:
            descriptor = read_descriptor(response[CACHE])
            for cache in folders:
                put_cache(cache, descriptor)
        if self.layout is not None and response.get(DESCRIPTOR):
            descriptor = read_descriptor(base64.b64decode(response[DESCRIPTOR]))
            images = [name for name in response.get(NAME, "").split(",") if name]
            _add_to_layout(self.layout, descriptor, images=images, tags=[] if images else [_LATEST])

    def _add_own_tags(self, tag: str) -> str:
        return "-".join((tag, *(str(platform).replace("/", "-") for platform in self.platforms)))

    def _expand_import(
        self, cache: TypedAttributes, layouts: dict[str, OciLayout], warn: Callable[[str], None]
    ) -> Iterator[TypedAttributes]:
        """Yield the cache once for each content that its tags name."""
        from ci_buildx.session.oci_layout import LayoutRefusal, OciLayout

        folder = Path(cache.get("src"))
        layout = OciLayout(folder)
        reason = f"it has no {cache.get('digest') or cache.get('tag', _LATEST)}"
        digests = []
        try:
            digests = [digest for digest in self._list_digests(cache, folder) if layout.has(digest)]
        except (KubeBuilderError, LayoutRefusal) as error:
            reason = str(error)
        if not digests:
            warn(f"the cache in {folder} is skipped: {reason}")
        name = _encode_folder_name(folder)
        for digest in digests:
            layouts.setdefault(f"{_LOCAL}:{name}", layout)
            yield _replace_attributes(cache, src=name, digest=digest)

    def _list_digests(self, cache: TypedAttributes, folder: Path) -> list[str]:
        from ci_buildx.session import oci_layout

        if cache.get("digest"):
            return [cache.get("digest")]
        tag = cache.get("tag", _LATEST)
        found = (oci_layout.find_digest(folder, each) for each in (self._add_own_tags(tag), tag))
        return [digest for digest in dict.fromkeys(found) if digest]


def _prepare_export(cache: TypedAttributes, layouts: dict[str, OciLayout]) -> TypedAttributes:
    folder = Path(cache.get("dest"))
    name = _encode_folder_name(folder)
    layouts[f"{_LOCAL}:{name}"] = _check_writable(folder)
    return _replace_attributes(cache, dest=name)


def _check_writable(folder: Path) -> OciLayout:
    from ci_buildx.session.oci_layout import OciLayout

    return OciLayout(folder, writable=True)


def _encode_folder_name(folder: Path) -> str:
    """Return the folder's path encoded for gRPC metadata, in which buildkitd repeats it."""
    return quote(str(folder), safe=_PRINTABLE, errors="surrogateescape")


def _replace_attributes(cache: TypedAttributes, **changes: str) -> TypedAttributes:
    return TypedAttributes(type=cache.type, attrs=tuple((dict(cache.attrs) | changes).items()))


def put_cache(cache: TypedAttributes, descriptor: Mapping[str, Any]) -> None:
    """Tag a cache that was exported to a folder. KubeBuilderError if the index cannot be written."""
    _add_to_layout(Path(cache.get("dest")), descriptor, tags=[cache.get("tag", _LATEST)])


def _add_to_layout(
    folder: Path, descriptor: Mapping[str, Any], *, tags: Sequence[str], images: Sequence[str] = ()
) -> None:
    from ci_buildx.session import oci_layout
    from ci_buildx.session.oci_layout import LayoutName

    names = [LayoutName.from_image(image) for image in images] + [LayoutName(tag=tag) for tag in tags]
    oci_layout.put_entry(folder, descriptor, names)


def read_descriptor(text: str | bytes) -> dict[str, Any]:
    """Parse a descriptor from buildkitd's response. Raises BuildkitError."""
    try:
        descriptor = parse_json(text)
    except ValueError:
        descriptor = None
    if not isinstance(descriptor, dict):
        raise BuildkitError("buildkitd returned invalid JSON for the exported cache")
    return descriptor
