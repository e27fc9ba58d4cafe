"""Names of the caches that several nodes export, and the merge of those caches into one. Pure.

GitHub's cache (``type=gha``) has scopes, S3 and Azure have names: an index that the last writer replaces. With several
nodes each writes its own, ``buildkit-linux-arm64`` for ``buildkit``; nodes read the plain name and those of all
platforms of the build. Registry caches are merged instead: each node pushes its own by digest.
Source: BuildKit 0.34.2, ``cache/remotecache/gha/gha.go``, ``s3/s3.go``, ``azblob/utils.go``.

A cache is a manifest, whose layers are the results of build steps, and a configuration that maps steps to layers:
``layers`` refer to their parents, ``records`` to layers and to the records of their inputs, all by list index
(BuildKit 0.34.2, ``cache/remotecache/v1/types/spec.go``, ``export.go``). A node that builds several platforms writes
one configuration for all of them; merging does the same for the configurations of several nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.model import reference
from ci_buildx.model.documents import parse_json
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


MEDIA_TYPE = "application/vnd.buildkit.cacheconfig.v0"
LARGEST = 1 << 20
"""Maximum size in bytes of a configuration or manifest for BuildKit (0.34.2, ``cache/remotecache/import.go``,
``readBlob``).
"""

_Key = tuple[str, tuple[frozenset[tuple[str, int]], ...]]


def merge_configs(configs: Iterable[bytes]) -> bytes:
    """Merge configurations into one without duplicates; raise ValueError if one is malformed."""
    merged = _CacheMerger()
    for config in configs:
        merged.add(_read(config))
    return json.dumps({"layers": merged.layers, "records": merged.records}, separators=(",", ":")).encode()


def find_config(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptor of a cache's configuration, for both manifest forms; raise ValueError if missing."""
    entries = [manifest.get("config"), *manifest.get("manifests", ())]
    for entry in entries:
        if isinstance(entry, dict) and entry.get("mediaType") == MEDIA_TYPE:
            return entry
    raise ValueError("not a cache")


def merge_manifests(manifests: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> bytes:
    """Return a manifest of all layers with ``config``, in the first one's form: image manifest or index."""
    is_index = "manifests" in manifests[0]
    layers: dict[str, Any] = {}
    for manifest in manifests:
        for entry in (*manifest.get("layers", ()), *manifest.get("manifests", ())):
            if entry["mediaType"] != MEDIA_TYPE:
                layers.setdefault(entry["digest"], entry)
    listed = list(layers.values())
    content = {"manifests": [*listed, config]} if is_index else {"config": config, "layers": listed}
    return json.dumps({**manifests[0], **content}, separators=(",", ":")).encode()


class _CacheMerger:
    """The merge so far; layers and records are indexed by the fields that identify them."""

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self._layers: dict[tuple[str, int], int] = {}
        self._records: dict[_Key, int] = {}
        self._results: set[tuple[int, str, str]] = set()

    def add(self, config: Mapping[str, Any]) -> None:
        layers: dict[int, int] = {-1: -1}
        given = config["layers"]
        for place in _sort_places(len(given), lambda place: [given[place].get("parent", 0)]):
            parent = layers[given[place].get("parent", 0)]
            layers[place] = self._add_layer({**given[place], "parent": parent})
        records: dict[int, int] = {}
        steps = config["records"]
        for place in _sort_places(len(steps), lambda place: _list_links(steps[place])):
            records[place] = self._add_record(steps[place], layers, records)

    def _add_layer(self, layer: dict[str, Any]) -> int:
        key = (layer["blob"], layer["parent"])
        if key not in self._layers:
            self._layers[key] = len(self.layers)
            self.layers.append(layer)
        return self._layers[key]

    def _add_record(self, given: Mapping[str, Any], layers: Mapping[int, int], records: Mapping[int, int]) -> int:
        inputs = [[{**one, "link": records[one["link"]]} for one in several] for several in given.get("inputs") or ()]
        results = [{**one, "layer": layers[one["layer"]]} for one in given.get("layers") or ()]
        chains = [{**one, "layers": [layers[place] for place in one["layers"]]} for one in given.get("chains") or ()]
        key = (
            given["digest"],
            tuple(frozenset((one.get("selector", ""), one["link"]) for one in several) for several in inputs),
        )
        if key not in self._records:
            self._records[key] = len(self.records)
            self.records.append({"digest": given["digest"], **({"inputs": inputs} if inputs else {})})
        record = self.records[self._records[key]]
        for name, found in (("layers", results), ("chains", chains)):
            for one in found:
                result = (self._records[key], name, json.dumps(one, sort_keys=True))
                if result not in self._results:
                    self._results.add(result)
                    record.setdefault(name, []).append(one)
        return self._records[key]


def _list_links(record: Mapping[str, Any]) -> list[int]:
    return [one["link"] for several in record.get("inputs") or () for one in several]


def _sort_places(count: int, before: Callable[[int], Iterable[int]]) -> list[int]:
    """Return the indexes 0 to ``count`` - 1, each after those it refers to (-1: none); raise ValueError for a cycle."""
    ordered: list[int] = []
    done: set[int] = set()
    begun: set[int] = set()
    for first in range(count):
        waiting = [first]
        while waiting:
            place = waiting[-1]
            missing = [each for each in before(place) if each != -1 and each not in done] if place not in done else []
            if any(each in begun or not 0 <= each < count for each in missing):
                raise ValueError("its records refer to each other in a circle, or to missing ones")
            if missing:
                begun.add(place)
                waiting += missing
                continue
            waiting.pop()
            begun.discard(place)
            if place not in done:
                done.add(place)
                ordered.append(place)
    return ordered


def _read(config: bytes) -> dict[str, Any]:
    """Parse a configuration and check the types that merging relies on; raise ValueError if it is malformed."""
    try:
        read = parse_json(config)
        layers, records = read.get("layers") or [], read.get("records") or []
        for layer in layers:
            _require(isinstance(layer["blob"], str) and _is_place(layer.get("parent", 0)))
        for record in records:
            _require(isinstance(record["digest"], str))
            for one in record.get("layers") or ():
                _require(_is_place(one["layer"]) and 0 <= one["layer"] < len(layers))
            for one in record.get("chains") or ():
                _require(all(_is_place(place) and 0 <= place < len(layers) for place in one["layers"]))
            for several in record.get("inputs") or ():
                _require(all(_is_place(one["link"]) and one["link"] >= 0 for one in several))
                _require(all(isinstance(one.get("selector", ""), str) for one in several))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("its configuration is malformed") from error
    return {"layers": layers, "records": records}


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(fulfilled: bool) -> None:
    if not fulfilled:
        raise ValueError
