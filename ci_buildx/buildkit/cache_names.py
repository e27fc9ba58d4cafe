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
from ci_buildx.settings.values import Attributes

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


def read_all(caches: Iterable[Attributes], platforms: Sequence[Platform]) -> tuple[Attributes, ...]:
    """The imports, and for each with a name those of the build's platforms."""
    names = ("", *(_suffix(platform) for platform in platforms))
    found = (_named(cache, name) for cache in caches for name in (names if cache.type in NAMES else names[:1]))
    return tuple(dict.fromkeys(found))


def write_own(caches: Iterable[Attributes], platform: Platform) -> tuple[Attributes, ...]:
    """The exports of one of several nodes, which is known by ``platform``."""
    listed = tuple(caches)
    by_tag = needs_tags(listed)
    return tuple(
        with_ref(cache, own_reference(cache, platform) if by_tag else _by_digest(cache))
        if cache.type == REGISTRY
        else _named(cache, _suffix(platform) if cache.type in NAMES else "")
        for cache in listed
    )


def needs_tags(exports: Iterable[Attributes]) -> bool:
    """Whether the nodes write their caches under tags of their own.

    buildkitd tells the digest of one cache only (0.34.2, ``llbsolver/export.go``): of several, tags find each.
    """
    return sum(cache.type in (REGISTRY, LOCAL) for cache in exports) > 1


def own_reference(cache: Attributes, platform: Platform) -> str:
    """Where one of several nodes writes its cache of a registry where it needs a tag."""
    wanted = reference.parse(cache.get("ref")).tagged()
    tag = f"{(wanted.tag or DEFAULT)[: _LONGEST_TAG - len(_suffix(platform))]}{_suffix(platform)}"
    return str(replace(wanted, tag=tag, digest=""))


def with_ref(cache: Attributes, ref: str) -> Attributes:
    """The cache of a registry, written elsewhere."""
    return Attributes(type=cache.type, attrs=tuple((dict(cache.attrs) | {"ref": ref}).items()))


def _by_digest(cache: Attributes) -> str:
    return f"{reference.parse(cache.get('ref')).name}@{_NO_DIGEST}"


def _named(cache: Attributes, suffix: str) -> Attributes:
    if not suffix:
        return cache
    attribute = NAMES[cache.type]
    name = cache.get(attribute, DEFAULT)
    named = f"{name}{suffix}" if cache.type == "gha" else ";".join(each + suffix for each in name.split(";"))
    return Attributes(type=cache.type, attrs=tuple((dict(cache.attrs) | {attribute: named}).items()))


def _suffix(platform: Platform) -> str:
    return f"-{str(platform).replace('/', '-')}"
