"""Which of the inputs about attestations counts, as in docker/build-push-action 7.3.0 (``src/context.ts``)."""

from __future__ import annotations

from ci_buildx.settings.attributes import PROVENANCE, SBOM
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import split_fields


def drop_overridden(given: RawValues) -> RawValues:
    """The inputs with only those ``attests`` that neither ``provenance`` nor ``sbom`` overrides.

    On the command line it is the other way round, as in buildx: the first of a type counts.
    """
    decided = {kind for kind in (PROVENANCE, SBOM) if given.read_text(kind)}
    attests = given.read_texts("attests") if decided else []
    kept = [text for text in attests if not any(is_of_type(text, kind) for kind in decided)]
    return given.with_changes(attests=kept) if kept != attests else given


def is_of_type(text: str, kind: str) -> bool:
    """Whether an attestation is of this type. Text that is no CSV is not: its error is reported when it is read."""
    try:
        fields = split_fields(text)
    except ValueError:
        return False
    pairs = (field.partition("=") for field in fields)
    return any((key.strip().lower(), value.strip()) == ("type", kind) for key, _, value in pairs)
