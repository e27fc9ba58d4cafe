"""Names of the caches that several nodes write, and of those that a node reads. Pure.

GitHub's cache (``type=gha``) has scopes, S3 and Azure have names: an index that the last one replaces. Of several nodes
each has its own, ``buildkit-linux-arm64`` for ``buildkit``; nodes read the plain one and those of all platforms of the
build. A registry's caches are merged (:mod:`ci_buildx.buildkit.cache_config`): there each node writes by digest.
Source: BuildKit 0.34.2, ``cache/remotecache/gha/gha.go``, ``s3/s3.go``, ``azblob/utils.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ci_buildx.model import reference
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import replace
from ci_buildx.settings.values import TypedAttributes

REGISTRY = "registry"
LOCAL = "local"
NAMES = {"gha": "scope", "s3": "name", "azblob": "name"}
"""The attribute that tells one cache from another, by the type."""
DEFAULT = "buildkit"
"""What BuildKit calls a cache that has no name."""

_NO_DIGEST = "sha256:" + "0" * 64
"""Told to push under another digest than the content's, containerd pushes by the content's, without a tag (2.4,
``core/remotes/docker/pusher.go``, ``getManifestPath``)."""
_LONGEST_TAG = 128


def read_all(caches: Iterable[TypedAttributes], platforms: Sequence[Platform]) -> tuple[TypedAttributes, ...]:
    """The imports, and for each with a name those of the build's platforms."""
    names = ("", *(_make_suffix(platform) for platform in platforms))
    found = (_add_suffix(cache, name) for cache in caches for name in (names if cache.type in NAMES else names[:1]))
    return tuple(dict.fromkeys(found))


def write_own(caches: Iterable[TypedAttributes], platform: Platform) -> tuple[TypedAttributes, ...]:
    """The exports of one of several nodes, which is known by ``platform``."""
    listed = tuple(caches)
    by_tag = needs_tags(listed)
    return tuple(
        replace_ref(cache, make_own_reference(cache, platform) if by_tag else _make_digest_reference(cache))
        if cache.type == REGISTRY
        else _add_suffix(cache, _make_suffix(platform) if cache.type in NAMES else "")
        for cache in listed
    )


def needs_tags(exports: Iterable[TypedAttributes]) -> bool:
    """Whether the nodes write their caches under tags of their own.

    buildkitd tells the digest of one cache only (0.34.2, ``llbsolver/export.go``): of several, tags find each.
    """
    return sum(cache.type in (REGISTRY, LOCAL) for cache in exports) > 1


def make_own_reference(cache: TypedAttributes, platform: Platform) -> str:
    """Where one of several nodes writes its cache of a registry where it needs a tag."""
    wanted = reference.parse_reference(cache.get("ref")).add_default_tag()
    tag = f"{(wanted.tag or DEFAULT)[: _LONGEST_TAG - len(_make_suffix(platform))]}{_make_suffix(platform)}"
    return str(replace(wanted, tag=tag, digest=""))


def replace_ref(cache: TypedAttributes, ref: str) -> TypedAttributes:
    """The cache of a registry, written elsewhere."""
    return TypedAttributes(type=cache.type, attrs=tuple((dict(cache.attrs) | {"ref": ref}).items()))


def _make_digest_reference(cache: TypedAttributes) -> str:
    return f"{reference.parse_reference(cache.get('ref')).name}@{_NO_DIGEST}"


def _add_suffix(cache: TypedAttributes, suffix: str) -> TypedAttributes:
    if not suffix:
        return cache
    attribute = NAMES[cache.type]
    name = cache.get(attribute, DEFAULT)
    named = f"{name}{suffix}" if cache.type == "gha" else ";".join(each + suffix for each in name.split(";"))
    return TypedAttributes(type=cache.type, attrs=tuple((dict(cache.attrs) | {attribute: named}).items()))


def _make_suffix(platform: Platform) -> str:
    return f"-{str(platform).replace('/', '-')}"
