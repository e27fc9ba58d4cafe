"""Which builders are over: pure, and nothing is chosen that is not provably ours and provably over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Location
from ci_buildx.builder.identity import PREFIX
from ci_buildx.builder.pods import age

_DELETION_TIME = 60.0
"""Seconds after which a namespace that was deleted will not go by itself any more."""


def is_expired(manifest: Mapping[str, Any], now: float) -> bool:
    """Whether an object bears our expiry, readable and in the past of ``now`` (epoch seconds)."""
    text = (manifest["metadata"].get("annotations") or {}).get(labels.EXPIRES, "")
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return False
    return moment.timestamp() < now


def is_builder_namespace(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace is a builder's own: by prefix, by manager, and by bearing its own name as builder."""
    name = namespace["metadata"].get("name", "")
    return bool(name.startswith(PREFIX)) and labels.belongs_to(namespace, name)


def is_stuck(namespace: Mapping[str, Any], now: float) -> bool:
    """Whether it was deleted so long ago that it will not go by itself."""
    deleted = namespace["metadata"].get("deletionTimestamp") or ""
    return bool(deleted) and age(deleted, now) > _DELETION_TIME


def select_namespaces(namespaces: Iterable[Mapping[str, Any]], now: float) -> list[Location]:
    """The places of builders that have expired; nothing that is not provably ours and provably over."""
    return [
        Location(name=found["metadata"]["name"], namespace=found["metadata"]["name"])
        for found in namespaces
        if is_builder_namespace(found) and is_expired(found, now)
    ]


def select_objects(manifests: Iterable[Mapping[str, Any]], namespace: str, now: float) -> list[Location]:
    """Builders that live in somebody's ``namespace``, all of whose ``manifests`` have expired."""
    expired: dict[str, bool] = {}
    for manifest in manifests:
        name = (manifest["metadata"].get("labels") or {}).get(labels.BUILDER, "")
        if name.startswith(PREFIX) and labels.belongs_to(manifest, name):
            expired[name] = expired.get(name, True) and is_expired(manifest, now)
    return [Location(name=name, namespace=namespace, exclusive=False) for name, over in expired.items() if over]


def select_silent(
    namespaces: Iterable[Mapping[str, Any]],
    inside: Mapping[str, Iterable[Mapping[str, Any]]],
    signs: Mapping[Location, str],
) -> list[Location]:
    """Of the builders whose jobs are silent (``signs``, see :func:`heartbeat.silent`) those that are there and ours.

    ``inside`` holds the objects of builders in namespaces that are not their own.
    """
    own = {found["metadata"]["name"] for found in namespaces if is_builder_namespace(found)}
    return [
        place
        for place in signs
        if (place.exclusive and place.namespace in own)
        or any(
            not place.exclusive and labels.belongs_to(found, place.name) for found in inside.get(place.namespace, ())
        )
    ]
