"""Which of the inputs about attestations counts, as in docker/build-push-action 7.3.0 (``src/context.ts``)."""

from __future__ import annotations

from ci_buildx.settings.attestations import PROVENANCE, SBOM
from ci_buildx.settings.csvline import split_fields
from ci_buildx.settings.given import Given


def with_last_word(given: Given) -> Given:
    """The inputs with only those ``attests`` that neither ``provenance`` nor ``sbom`` overrides.

    On the command line it is the other way round, as in buildx: the first of a type counts.
    """
    decided = {kind for kind in (PROVENANCE, SBOM) if given.text(kind)}
    attests = given.texts("attests") if decided else []
    kept = [text for text in attests if not any(is_of_type(text, kind) for kind in decided)]
    return given.having(attests=kept) if kept != attests else given


def is_of_type(text: str, kind: str) -> bool:
    """Whether an attestation is of this type. Text that is no CSV is not: its error is reported when it is read."""
    try:
        fields = split_fields(text)
    except ValueError:
        return False
    pairs = (field.partition("=") for field in fields)
    return any((key.strip().lower(), value.strip()) == ("type", kind) for key, _, value in pairs)
