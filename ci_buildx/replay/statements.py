"""Provenance in files: in-toto statements, DSSE envelopes and bare predicates, as docker buildx 0.38.2 reads them.

The forms are those of in-toto attestation v1 (``spec/v1/statement.md``) and DSSE v1 (``envelope.md``). A signature
cannot be verified here, so a signed document is rejected rather than read as if it were not signed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.replay.predicate import LARGEST_PROVENANCE, SLSA_02, SLSA_1

_STATEMENT = "https://in-toto.io/Statement/"
_BUNDLE = "application/vnd.dev.sigstore.bundle."
_LINES = ".intoto.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceStatement:
    """A predicate with its type; ``body`` are its bytes, which its digest is computed of."""

    kind: str
    predicate: object
    body: bytes


def read_statement(path: Path, *, source: str) -> ProvenanceStatement:
    """Read the first provenance statement of a file; a file ``….intoto.jsonl`` has one per line.

    Raises InputError, also if any line of the file is malformed or signed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_PROVENANCE + 1)
    except OSError as error:
        raise InputError(f"cannot read {path.name!r}: {error.strerror}", source=source) from error
    if len(content) > LARGEST_PROVENANCE:
        raise InputError(f"{path.name!r} has more than {LARGEST_PROVENANCE >> 20} MiB", source=source)
    lines = content.splitlines() if path.name.endswith(_LINES) else [content]
    found = [parse_statement(line, name=path.name, source=source) for line in lines if line.strip()]
    if not found:
        raise InputError(f"attestation file {path.name!r} is empty", source=source)
    if not path.name.endswith(_LINES):
        return found[0]
    for one in found:
        if one.kind in (SLSA_1, SLSA_02):
            return one
    raise InputError(f"no SLSA provenance statement found in {path.name!r}", source=source)


def parse_statement(content: bytes, *, name: str, source: str) -> ProvenanceStatement:
    """Parse a statement, an envelope around one, or a bare predicate. Raises InputError."""
    document = _parse_object(content, name, source)
    if str(document.get("mediaType", "")).startswith(_BUNDLE) or "verificationMaterial" in document:
        raise _refuse_signed("sigstore bundle", name, source)
    if isinstance(document.get("payload"), str) and document["payload"]:
        if any(_list_signatures(document)):
            raise _refuse_signed("DSSE envelope", name, source)
        document = _parse_object(_decode_payload(document["payload"], name, source), name, source)
    kind, predicate = document.get("predicateType"), cast("object", document)
    if kind is None:
        kind = _find_bare_kind(document)
    else:
        predicate = document.get("predicate", {})
        if not str(document.get("_type", "")).startswith(_STATEMENT):
            kind = None
    if not isinstance(kind, str) or not isinstance(predicate, dict):
        message = f"{name!r} is not an in-toto statement, DSSE envelope or provenance predicate"
        raise InputError(message, source=source)
    body = json.dumps(predicate, separators=(",", ":")).encode()
    return ProvenanceStatement(kind=kind, predicate=predicate, body=body)


def _find_bare_kind(document: Mapping[str, Any]) -> str | None:
    """Return the type of a predicate without a statement, such as ``{{json .Provenance.SLSA}}`` prints."""
    if document.get("buildDefinition"):
        return SLSA_1
    return SLSA_02 if document.get("buildType") and document.get("invocation") else None


def _list_signatures(document: Mapping[str, Any]) -> Iterator[object]:
    found = document.get("signatures")
    for one in found if isinstance(found, list) else ():
        yield one.get("sig") if isinstance(one, dict) else one


def _decode_payload(text: str, name: str, source: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError as error:
        raise InputError(f"the payload of {name!r} is not base64", source=source) from error


def _parse_object(content: bytes, name: str, source: str) -> dict[str, Any]:
    try:
        document = parse_json(content)
    except MalformedDocument as error:
        raise InputError(f"{name!r} is not JSON: {error.problem[:200]}", source=source) from error
    if not isinstance(document, dict):
        raise InputError(f"{name!r} is not a JSON object", source=source)
    return document


def _refuse_signed(what: str, name: str, source: str) -> InputError:
    message = f"{name!r} is a signed {what}, which cannot be verified"
    return InputError(message, source=source, fix="name the image, or a file that is not signed")
