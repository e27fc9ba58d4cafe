"""Merges compose files, and services with those that they extend (compose-go 2.16.1, ``override``)."""

from __future__ import annotations

from typing import Any

from ci_buildx.bake.compose.documents import RESET, Override
from ci_buildx.errors import InputError

_BY_KEY = frozenset(("build.args", "build.additional_contexts", "build.labels", "environment", "labels", "annotations"))
"""Sequences of a service that are merged by their keys."""
_SEQUENCES = frozenset(("build.extra_hosts", "env_file", "label_file", "dns", "extra_hosts", "tmpfs"))
_REPLACED = frozenset(("command", "entrypoint", "healthcheck.test"))
_UNIQUE = frozenset((*_BY_KEY, "build.platform", "build.tags"))


def merge_documents(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the content of a later one. Raises InputError if they contradict each other."""
    merged: dict[str, Any] = _merge(earlier, later, ())
    return _remove_repeated(merged)


def merge_services(base: dict[str, Any], service: dict[str, Any]) -> dict[str, Any]:
    """Return a service with those of its base that it does not override. Raises InputError."""
    merged: dict[str, Any] = _merge(base, service, ("services", "*"))
    return merged


def _name(path: tuple[str, ...]) -> str:
    """Return the path inside a service, "" elsewhere."""
    return ".".join(path[2:]) if path[:1] == ("services",) else ""


def _merge(earlier: Any, later: Any, path: tuple[str, ...]) -> Any:
    name = _name(path)
    if isinstance(later, Override):
        return later.value
    if name in _BY_KEY:
        return _merge_pairs([*list_pairs(earlier), *list_pairs(later)])
    if name in _SEQUENCES:
        return _append(list_pairs(earlier), list_pairs(later))
    if name in _REPLACED:
        return later
    if name == "build":
        earlier, later = _open_build(earlier), _open_build(later)
    elif len(path) == 3 and path[2] in ("depends_on", "networks", "models"):
        earlier, later = _open_names(earlier), _open_names(later)
    elif later is None:
        return earlier
    if isinstance(earlier, dict):
        if not isinstance(later, dict):
            raise InputError(f"cannot override {'.'.join(path)}", source="compose", fix="write a mapping")
        return _merge_mappings(earlier, later, path)
    if isinstance(earlier, list):
        if not isinstance(later, list):
            raise InputError(f"cannot override {'.'.join(path)}", source="compose", fix="write a list")
        return _append(earlier, later)
    return later


def _merge_mappings(earlier: dict[str, Any], later: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    merged = dict(earlier)
    for key, value in later.items():
        if value is RESET:
            merged.pop(key, None)
        elif key in merged:
            merged[key] = _merge(merged[key], value, (*path, key))
        else:
            merged[key] = value.value if isinstance(value, Override) else value
    return merged


def _open_build(value: Any) -> Any:
    return {"context": value} if isinstance(value, str) else value or {}


def _open_names(value: Any) -> Any:
    if isinstance(value, list):
        return {one: None for one in value if isinstance(one, str)}
    return value or {}


def list_pairs(value: Any) -> list[Any]:
    """Return a mapping as a sorted list of ``key=value``; a list as it is."""
    if isinstance(value, dict):
        found: list[str] = []
        for key, one in value.items():
            parts = one if isinstance(one, list) else [one]
            found += [key if part is None else f"{key}={format_scalar(part)}" for part in parts]
        return sorted(found)
    if isinstance(value, str):
        return [value]
    return list(value or ())


def format_scalar(value: Any) -> str:
    """Return a YAML scalar as text, as Go prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return "" if value is None else str(value)


def _merge_pairs(pairs: list[Any]) -> list[Any]:
    """Return the last entry of each key, in the place of the first one."""
    found: dict[str, Any] = {}
    for one in pairs:
        found[str(one).partition("=")[0]] = one
    return list(found.values())


def _append(earlier: list[Any], later: list[Any]) -> list[Any]:
    merged = list(earlier)
    for one in later:
        if one not in merged:
            merged.append(one)
    return merged


def _remove_repeated(document: dict[str, Any]) -> dict[str, Any]:
    """Remove repeated keys in the lists of all services."""
    services = document.get("services")
    if not isinstance(services, dict):
        return document
    return {**document, "services": {name: _clean(one, ("services", "*")) for name, one in services.items()}}


def _clean(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _clean(one, (*path, key)) for key, one in value.items()}
    return _merge_pairs(value) if isinstance(value, list) and _name(path) in _UNIQUE else value


def strip_marks(value: Any) -> Any:
    """Return a document without the marks ``!reset`` and ``!override``."""
    if isinstance(value, Override):
        return strip_marks(value.value)
    if isinstance(value, dict):
        return {key: strip_marks(one) for key, one in value.items() if one is not RESET}
    return [strip_marks(one) for one in value if one is not RESET] if isinstance(value, list) else value
