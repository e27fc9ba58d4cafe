"""The user's pod template: what it may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.settings.driver import reserved, strategic
from ci_buildx.settings.nearest import suggest

_FIELDS = ("metadata", "spec")
_MARKS = ("labels", "annotations")


def check_template(template: Mapping[str, Any], *, source: str) -> Mapping[str, Any]:
    """A PodTemplateSpec, or the part of one that is to be merged. Raises InputError."""
    _check_fields(template, _FIELDS, "", source)
    metadata = template.get("metadata") or {}
    _check_fields(metadata, _MARKS, "metadata", source)
    for field in _MARKS:
        _check_marks(metadata.get(field) or {}, f"metadata.{field}", source)
    reserved.check_labels(map(str, metadata.get("labels") or ()), source=source)
    reserved.check_annotations(map(str, metadata.get("annotations") or ()), source=source)
    try:
        fault = strategic.find_fault(template)
    except RecursionError as error:
        raise InputError("the template contains itself", source=source) from error
    if fault:
        raise InputError(fault, source=source)
    return template


def _check_marks(marks: Any, path: str, source: str) -> None:
    if not isinstance(marks, Mapping):
        raise InputError(f"{path} is not a mapping", source=source)
    for name, value in marks.items():
        if not isinstance(value, str | None):
            raise InputError(f"{path}.{name} is {value!r}, which is no text", source=source, fix="quote it")


def _check_fields(value: Any, known: tuple[str, ...], path: str, source: str) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{path or 'the template'} is not a mapping", source=source)
    for field in value:
        if field not in known:
            where = f"{path}.{field}".lstrip(".")
            raise InputError(f"unknown field {where!r}", source=source, fix=suggest(str(field), known))
