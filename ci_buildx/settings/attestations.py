"""Provenance and SBOM: what the image says of its own making.

Values are those of buildx's ``--provenance`` and ``--sbom``: a boolean or attributes; what comes out is the text that
buildx 0.38.2 sends as ``attest:…`` (``util/buildflags/attests.go``), "" where none is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_buildx.errors import InputError
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.csvline import split_pairs
from ci_buildx.settings.nearest import suggest

DEFAULT_PROVENANCE = "mode=min,inline-only=true"
NO_DEFAULTS = "BUILDX_NO_DEFAULT_ATTESTATIONS"
_MODES = ("min", "max")


def parse_provenance(text: str, *, source: str, env: Mapping[str, str]) -> str:
    """``true``, ``false`` or ``mode=max,…``; without a value buildx's default, unless the environment forbids it."""
    if not text:
        return "" if read_boolean(env.get(NO_DEFAULTS, "")) else DEFAULT_PROVENANCE
    provenance = _parse(text, "provenance", source)
    mode = dict(split_pairs(provenance)).get("mode", "min") if provenance else "min"
    if mode not in _MODES:
        raise InputError(f"unknown provenance mode {mode!r}", source=source, fix=suggest(mode, _MODES))
    return provenance


def parse_sbom(text: str, *, source: str) -> str:
    """``true``, ``false`` or ``generator=image,…``."""
    return _parse(text, "sbom", source) if text else ""


def _parse(text: str, kind: str, source: str) -> str:
    wanted = read_boolean(text)
    if wanted is not None:
        return f"type={kind}" if wanted else ""
    try:
        pairs = split_pairs(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write true, false or key=value,…") from error
    attributes = dict(pairs)
    if read_boolean(attributes.get("disabled", "")):
        return ""
    return text if attributes.get("type") == kind else f"type={kind},{text}"
