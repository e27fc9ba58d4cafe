"""Names of the caches that several nodes export, and of those that a node imports. Pure.

GitHub's cache (``type=gha``) has scopes, S3 and Azure have names: an index that the last writer replaces. With several
nodes each writes its own, ``buildkit-linux-arm64`` for ``buildkit``; nodes read the plain name and those of all
platforms of the build. Registry caches are merged instead (:mod:`ci_buildx.buildkit.cache_config`): each node pushes
its own by digest.
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
"""The attribute that names a cache, by type."""
DEFAULT = "buildkit"
"""BuildKit's name for an unnamed cache."""

_NO_DIGEST = "sha256:" + "0" * 64
"""A digest that never matches: containerd then pushes by the content's digest, without a tag (2.4,
``core/remotes/docker/pusher.go``, ``getManifestPath``).
"""
_LONGEST_TAG = 128


def read_all(caches: Iterable[TypedAttributes], platforms: Sequence[Platform]) -> tuple[TypedAttributes, ...]:
    """Return the imports, plus those for each of the build's ``platforms`` if the type has names."""
    names = ("", *(_make_suffix(platform) for platform in platforms))
    found = (_add_suffix(cache, name) for cache in caches for name in (names if cache.type in NAMES else names[:1]))
    return tuple(dict.fromkeys(found))


def write_own(caches: Iterable[TypedAttributes], platform: Platform) -> tuple[TypedAttributes, ...]:
    """Return the exports of one of several nodes, identified by ``platform``."""
    listed = tuple(caches)
    by_tag = needs_tags(listed)
    return tuple(
        replace_ref(cache, make_own_reference(cache, platform) if by_tag else _make_digest_reference(cache))
        if cache.type == REGISTRY
        else _add_suffix(cache, _make_suffix(platform) if cache.type in NAMES else "")
        for cache in listed
    )


def needs_tags(exports: Iterable[TypedAttributes]) -> bool:
    """Return whether each node must export its caches under tags of its own.

    buildkitd returns the digest of one cache only (0.34.2, ``llbsolver/export.go``); with several, tags identify them.
    """
    return sum(cache.type in (REGISTRY, LOCAL) for cache in exports) > 1


def make_own_reference(cache: TypedAttributes, platform: Platform) -> str:
    """Return the reference under which the node of ``platform`` pushes a registry cache that needs a tag."""
    wanted = reference.parse_reference(cache.get("ref")).add_default_tag()
    tag = f"{(wanted.tag or DEFAULT)[: _LONGEST_TAG - len(_make_suffix(platform))]}{_make_suffix(platform)}"
    return str(replace(wanted, tag=tag, digest=""))


def replace_ref(cache: TypedAttributes, ref: str) -> TypedAttributes:
    """Return the registry cache with another reference."""
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
