"""Provenance and SBOM: what the image says of its own making.

Values are those of buildx's ``--provenance``, ``--sbom`` and ``--attest``: a boolean or attributes; what comes out is
the text that buildx 0.38.2 sends as ``attest:…`` (``util/buildflags/attests.go``), "" where none is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.errors import InputError
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.csvline import join_fields, split_fields
from ci_buildx.settings.nearest import suggest

DEFAULT_PROVENANCE = "mode=min,inline-only=true"
NO_DEFAULTS = "BUILDX_NO_DEFAULT_ATTESTATIONS"
NO_OCI_ARTIFACT = "BUILDX_NO_DEFAULT_OCI_ARTIFACT"
"""Attestations are plain image manifests, for registries that take no OCI artifacts."""
PROVENANCE = "provenance"
SBOM = "sbom"
_MODES = ("min", "max")


def parse_provenance(text: str, *, source: str, env: Mapping[str, str]) -> str:
    """``true``, ``false`` or ``mode=max,…``; without a value buildx's default, unless the environment forbids it."""
    if not text:
        return "" if is_switched_on(NO_DEFAULTS, env) else DEFAULT_PROVENANCE
    return _parse_of(PROVENANCE, text, source)


def is_switched_on(variable: str, env: Mapping[str, str]) -> bool:
    """Whether a variable of buildx's is true. InputError for what is no boolean, as in buildx (``build/opt.go``)."""
    text = env.get(variable, "")
    wanted = read_boolean(text)
    if text and wanted is None:
        raise InputError(f"{text!r} is neither true nor false", source=variable)
    return wanted is True


def parse_sbom(text: str, *, source: str) -> str:
    """``true``, ``false`` or ``generator=image,…``."""
    return _parse_of(SBOM, text, source) if text else ""


def parse_attestations(texts: Iterable[str], *, source: str) -> dict[str, str]:
    """``type=provenance,mode=max`` and the like, by type; the first of a type counts."""
    found: dict[str, str] = {}
    for text in texts:
        kind, canonical = _parse(text, source)
        if not kind:
            raise InputError(f"{text!r} has no type", source=source, fix="write type=provenance or type=sbom")
        found.setdefault(kind, canonical)
    return found


def _parse_of(kind: str, text: str, source: str) -> str:
    wanted = read_boolean(text)
    if wanted is not None:
        return f"type={kind}" if wanted else ""
    return _parse(f"type={kind},{text}", source)[1]


def _parse(text: str, source: str) -> tuple[str, str]:
    """The type, and the text to send: the type first, the rest sorted, "" where it is disabled."""
    kind, disabled, attributes = "", False, {}
    try:
        fields = split_fields(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write true, false or key=value,…") from error
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{field!r} is not key=value", source=source, fix="write true, false or key=value,…")
        match key.strip().lower():
            case "type":
                kind = value
            case "disabled":
                disabled = read_boolean(value) is True
            case _:
                attributes[key] = value
    mode = attributes.get("mode", "min")
    if kind == PROVENANCE and mode not in _MODES:
        raise InputError(f"unknown provenance mode {mode!r}", source=source, fix=suggest(mode, _MODES))
    ordered = [f"type={kind}", *(f"{key}={value}" for key, value in sorted(attributes.items()))]
    return kind, "" if disabled else join_fields(ordered)
