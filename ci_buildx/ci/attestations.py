"""Precedence of the attestation inputs, as in docker/build-push-action 7.3.0 (``src/context.ts``)."""

from __future__ import annotations

from ci_buildx.settings.attributes import PROVENANCE, SBOM
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import split_fields


def drop_overridden(given: RawValues) -> RawValues:
    """Drop the ``attests`` that ``provenance`` or ``sbom`` overrides.

    On the command line, as in buildx, the first attestation of a type wins instead.
    """
    decided = {kind for kind in (PROVENANCE, SBOM) if given.read_text(kind)}
    attests = given.read_texts("attests") if decided else []
    kept = [text for text in attests if not any(is_of_type(text, kind) for kind in decided)]
    return given.with_changes(attests=kept) if kept != attests else given


def is_of_type(text: str, kind: str) -> bool:
    """Return whether an attestation is of this type.

    False for invalid CSV: reading the attestation later reports that error.
    """
    try:
        fields = split_fields(text)
    except ValueError:
        return False
    pairs = (field.partition("=") for field in fields)
    return any((key.strip().lower(), value.strip()) == ("type", kind) for key, _, value in pairs)
