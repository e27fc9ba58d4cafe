"""Checks attributes of outputs and caches that BuildKit would ignore, or would reject only after a builder exists."""

from __future__ import annotations

from collections.abc import Container, Iterable

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings import attribute_table as table
from ci_buildx.settings.attribute_table import AttributeKind, OutputAttribute
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.pairs import check_tag
from ci_buildx.settings.values import TypedAttributes

_ANNOTATION = compile_lazily(r"annotation(?:-[a-z-]+)?(?:\[[A-Za-z0-9_/-]+\])?\.\S+")
"""Format of annotations in BuildKit 0.34.2, ``exporter/containerimage/exptypes/annotations.go``."""
_BOOLEANS = frozenset(("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_DURATION = compile_lazily(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+|0")
_NEEDED_BY = (("compression", ("estargz",)), ("oci-artifact", ("1", "t", "T", "TRUE", "true", "True")))
_MANIFEST = (("image-manifest", _NEEDED_BY[1][1]),)


def check_output(output: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of an output, or for an invalid value."""
    _check(output, table.OUTPUTS[output.type], f"output type={output.type}", source)
    _check_media_types(output, _NEEDED_BY, source)


def check_export(cache: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of a cache export, or for an invalid value."""
    _check(cache, table.CACHE_EXPORTS[cache.type], f"cache type={cache.type}", source)
    _check_media_types(cache, (*_NEEDED_BY, *_MANIFEST), source)


def check_import(cache: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of a cache import, or for an invalid value.

    Attributes of the export are accepted and have no effect.
    """
    known = {one.name: one for one in (*table.CACHE_EXPORTS[cache.type], *table.CACHE_IMPORTS[cache.type])}
    _check(cache, known.values(), f"cache type={cache.type}", source)


def _check(given: TypedAttributes, known: Iterable[OutputAttribute], what: str, source: str) -> None:
    by_name = {one.name: one for one in known}
    for name, value in given.attrs:
        attribute = by_name.get("annotation.*" if _ANNOTATION.fullmatch(name) else name)
        if attribute is None:
            fix = suggest_name(name, by_name) if by_name else "leave it out"
            raise InputError(f"{what} has no attribute {name!r}", source=source, fix=fix)
        if attribute.refused:
            raise InputError(f"{what}: {name} is not supported", source=source, fix=attribute.refused)
        _check_value(attribute, name, value, source)


def _check_value(attribute: OutputAttribute, name: str, value: str, source: str) -> None:
    wanted = ""
    match attribute.kind:
        case AttributeKind.NAMES:
            for each in filter(None, value.split(",")):
                check_tag(each, source=source)
        case AttributeKind.FLAG:
            wanted = "true or false" if value and value not in _BOOLEANS else ""
        case AttributeKind.BOOLEAN:
            wanted = "true or false" if value not in _BOOLEANS else ""
        case AttributeKind.NUMBER:
            wanted = "a whole number" if not _is_number(value) else ""
        case AttributeKind.POSITIVE:
            wanted = "a whole number above zero" if not _is_number(value) or int(value) < 1 else ""
        case AttributeKind.DURATION:
            wanted = "a time such as 10m" if not _DURATION.fullmatch(value) else ""
        case _:
            if attribute.choices and value not in attribute.choices:
                wanted = " or ".join(attribute.choices)
    if wanted:
        raise InputError(f"{name}={value} is not {wanted}", source=source)


def _is_number(value: str) -> bool:
    return value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()


def _check_media_types(given: TypedAttributes, needed_by: Iterable[tuple[str, Container[str]]], source: str) -> None:
    """Reject attributes that need OCI media types if these are disabled.

    Source: BuildKit 0.34.2, ``containerimage/opts.go``, ``export.go``.
    """
    attrs = dict(given.attrs)
    if attrs.get("oci-mediatypes", "true") not in _FALSE:
        return
    for name, values in needed_by:
        if attrs.get(name, "") in values:
            message = f"{name}={attrs[name]} needs OCI's media types"
            raise InputError(message, source=source, fix="leave out oci-mediatypes=false")
