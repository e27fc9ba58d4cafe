"""The shape of the Kubernetes objects that kube-builder reads: a field of another JSON type is refused on its arrival.

A real API server validates what it stores. What stands before it, or takes its place, may answer with anything. Fields
are those of Kubernetes v1.34.2 (``api/openapi-spec/swagger.json``) that some part of kube-builder reads. A path has the
same type in all kinds, but for ``status``, which is a text in a Status.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ci_buildx.model.timestamps import parse_timestamp

Shape = Callable[[Any], bool] | dict[str, Any] | list[Any]
"""A test of a value, the fields of an object, or the one shape of a list's elements."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_time(value: object) -> bool:
    if isinstance(value, str):
        with suppress(ValueError):
            parse_timestamp(value)
            return True
    return False


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _name_texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, _is_text)


_METADATA = {
    **_name_texts("name", "namespace", "uid", "resourceVersion", "continue"),
    **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _is_time),
    **dict.fromkeys(("labels", "annotations"), _is_text_map),
    "ownerReferences": [_name_texts("kind", "name", "uid")],
    "finalizers": _is_text_list,
}
_RAN = {
    **_name_texts("reason", "message", "containerID"),
    "exitCode": _is_number,
    **dict.fromkeys(("startedAt", "finishedAt"), _is_time),
}
_STATE = {"waiting": _name_texts("reason", "message"), "running": {"startedAt": _is_time}, "terminated": _RAN}
_CONTAINER_STATUS = {
    **_name_texts("name", "image"),
    **dict.fromkeys(("ready", "started"), _is_switch),
    "restartCount": _is_number,
    **dict.fromkeys(("state", "lastState"), _STATE),
}
_CONTAINER = {**_name_texts("name", "image", "restartPolicy"), "lifecycle": {"preStop": {}}}
_POD_SPEC: dict[str, Any] = {
    **_name_texts("nodeName", "restartPolicy", "serviceAccountName"),
    "nodeSelector": _is_text_map,
    "hostUsers": _is_switch,
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "volumes": [{"name": _is_text, "persistentVolumeClaim": {"claimName": _is_text}}],
    "imagePullSecrets": [_name_texts("name")],
}
_TEMPLATE = {"metadata": _METADATA, "spec": _POD_SPEC}
_SPEC: dict[str, Any] = {
    **_POD_SPEC,
    "template": _TEMPLATE,
    "jobTemplate": {"spec": {"template": _TEMPLATE}},
    "schedule": _is_text,
    **dict.fromkeys(("suspend", "unschedulable"), _is_switch),
    **dict.fromkeys(("parallelism", "replicas", "leaseDurationSeconds"), _is_number),
    "renewTime": _is_time,
    "holderIdentity": _is_text,
    "taints": [_name_texts("key", "value", "effect")],
    **dict.fromkeys(("podCIDRs", "cidrs", "finalizers"), _is_text_list),
}
_CONDITION = {**_name_texts("type", "status", "reason", "message"), "lastTransitionTime": _is_time}
_STATUS: dict[str, Any] = {
    **_name_texts("phase", "reason", "message", "podIP", "nominatedNodeName"),
    "conditions": [_CONDITION],
    "containerStatuses": [_CONTAINER_STATUS],
    "initContainerStatuses": [_CONTAINER_STATUS],
    "podIPs": [_name_texts("ip")],
    **dict.fromkeys(("ready", "readyReplicas"), _is_number),
    "nodeInfo": _name_texts("architecture", "operatingSystem", "kubeletVersion"),
    "runtimeHandlers": [{"name": _is_text, "features": {"userNamespaces": _is_switch}}],
    "allowed": _is_switch,
    "userInfo": _name_texts("username"),
}
_SUBJECT = _name_texts("kind", "name", "namespace", "uid")
_OBJECT: dict[str, Any] = {
    **_name_texts("kind", "apiVersion", "reason", "message", "type"),
    "metadata": _METADATA,
    "spec": _SPEC,
    "status": _STATUS,
    "data": _is_text_map,
    "involvedObject": _SUBJECT,
    "series": {"count": _is_number, "lastObservedTime": _is_time},
    "count": _is_number,
    **dict.fromkeys(("lastTimestamp", "eventTime"), _is_time),
    "roleRef": _name_texts("kind", "name"),
    "subjects": [_SUBJECT],
    "rules": [dict.fromkeys(("verbs", "apiGroups", "resources", "nonResourceURLs"), _is_text_list)],
    "groups": [_name_texts("name")],
}
_ANSWER = {**_OBJECT, "items": [_OBJECT]}
_ROOT = "the object"
_REQUIRED = {"conditions": ("type", "status"), "taints": ("key", "effect"), "podIPs": ("ip",), "groups": ("name",)}
"""Fields that each element of a list has."""


def find_fault(document: Any, *, is_stored: bool = False) -> str:
    """Return the path of the first field of an API object, or of a list of them, with a wrong type; "" without one.

    A field that is null counts as missing, as for the API server, and is removed. The objects of a list have a name,
    and so has one that ``is_stored``.
    """
    shape: Shape = _ANSWER
    if isinstance(document, dict) and isinstance(document.get("status"), str) and document.get("kind") == "Status":
        shape = {**_ANSWER, "status": _is_text}
    if fault := next(_list_faults(document, shape, _ROOT), ""):
        return fault
    stored = [(_ROOT, document)] if is_stored else []
    stored += [(f"{_ROOT}.items[{number}]", one) for number, one in enumerate(document.get("items") or ())]
    nameless = (path for path, one in stored if "name" not in one.get("metadata", {}))
    return next((f"{path}.metadata.name" for path in nameless), "") or _find_secret_fault(document)


def _list_faults(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield path
            return
        required = _REQUIRED.get(path.rpartition(".")[2], ())
        for number, one in enumerate(value):
            yield from _list_faults(one, shape[0], f"{path}[{number}]")
            yield from (f"{path}[{number}].{name}" for name in required if name not in one)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield path
            return
        for name in [name for name in value if name in shape]:
            if value[name] is None:
                del value[name]
            else:
                yield from _list_faults(value[name], shape[name], f"{path}.{name}")
    elif not shape(value):
        yield path


def _find_secret_fault(document: dict[str, Any]) -> str:
    """Return the field of a Secret that is not base64."""
    for name, content in (document.get("data") or {}).items() if document.get("kind") == "Secret" else ():
        try:
            b64decode(content)
        except ValueError:
            return f"{_ROOT}.data.{name}"
    return ""
