"""Strategic merge: Kubernetes' patches of pod templates, used to apply the user's template to the generated one.

Lists of objects are merged by the key that Kubernetes declares for them, other lists are replaced, null removes.
Sources: k8s.io/api v0.34.2 ``core/v1/types.go`` (``patchStrategy``, ``patchMergeKey``), apimachinery v0.34.2
``pkg/util/strategicpatch/patch.go`` (the directives ``$patch`` and ``$retainKeys``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
"""Merge keys of the lists in a pod template that are merged; a field has the same meaning at every place."""
_FREE = (
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "requests",
    "limits",
    "overhead",
    "options",
    "volumeAttributes",
)
"""Maps whose keys are arbitrary, not fields: a label may be called ``env``."""
_ONE_SOURCE = ("volumes", "resourceClaims")
"""Lists whose objects have one of several sources: the patch's source replaces another, as in ``kubectl apply``."""
_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DIRECTIVES = ("replace", "merge", "delete")


def merge_patch(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``patch`` applied; ``patch`` must have passed :func:`find_fault`."""
    match patch.get(_PATCH):
        case "replace":
            return _strip_directives(patch)
        case "delete":
            return {}
    kept = patch.get(_RETAIN)
    merged = {key: value for key, value in base.items() if kept is None or key in kept}
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(key, base.get(key), value)
    return merged


def find_fault(patch: Any, path: str = "", *, free: bool = False) -> str:
    """Return the first error in a patch with its path, or "". ``free``: the keys of the map are not field names."""
    if isinstance(patch, Mapping):
        return next(filter(None, (_find_value_fault(key, value, path, free=free) for key, value in patch.items())), "")
    if isinstance(patch, Sequence) and not isinstance(patch, str):
        return next(filter(None, (find_fault(item, f"{path}[{index}]") for index, item in enumerate(patch))), "")
    if isinstance(patch, str | int | float | None):
        return ""
    return f"{path} is a {type(patch).__name__}, which JSON does not support; quote it"


def _find_value_fault(key: Any, value: Any, path: str, *, free: bool) -> str:
    where = f"{path}.{key}".lstrip(".")
    if not isinstance(key, str):
        return f"{where} is not a field name"
    if key == _PATCH and value not in _DIRECTIVES:
        return f"{where} is {value!r}, which is not one of {', '.join(_DIRECTIVES)}"
    if key.startswith("$") and key not in (_PATCH, _RETAIN):
        return f"{where} is an unknown directive; known: {_PATCH}, {_RETAIN}"
    if key in KEYS and value is not None and not free:
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            return f"{where} is not a list of objects"
        for index, item in enumerate(value):
            if KEYS[key] not in item and item.get(_PATCH) != "replace":
                return f"{where}[{index}] has no {KEYS[key]}, which is its merge key"
    return find_fault(value, where, free=key in _FREE)


def _merge_value(key: str, before: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return merge_patch(before if isinstance(before, Mapping) else {}, value)
    if key in KEYS and isinstance(value, list):
        return _merge_list(key, before if isinstance(before, list) else [], value)
    return _copy_plain(value)


def _merge_list(key: str, before: Sequence[Mapping[str, Any]], patches: Sequence[Mapping[str, Any]]) -> list[Any]:
    name = KEYS[key]
    replaces = any(patch.get(_PATCH) == "replace" and name not in patch for patch in patches)
    merged = {} if replaces else {item.get(name): item for item in before}
    for patch in patches:
        if name not in patch:
            continue
        if patch.get(_PATCH) == "delete":
            merged.pop(patch[name], None)
            continue
        known = merged.get(patch[name], {})
        if key in _ONE_SOURCE and len(patch) > 1:
            known = {field: value for field, value in known.items() if field in patch}
        merged[patch[name]] = merge_patch(known, patch)
    return list(merged.values())


def _strip_directives(patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new value of the patch without directives and null fields."""
    return {
        key: _copy_plain(value) for key, value in patch.items() if key not in (_PATCH, _RETAIN) and value is not None
    }


def _copy_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _strip_directives(value)
    return [_copy_plain(item) for item in value] if isinstance(value, list) else value
