"""Provenance in files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.replay.predicate import LARGEST_PROVENANCE, SLSA_1
from ci_buildx.replay.statements import read_statement
from tests.unit.replay.provenance import make_document

STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "predicateType": SLSA_1, "predicate": make_document()}


def make_envelope(*signatures: dict[str, str]) -> dict[str, Any]:
    payload = base64.b64encode(json.dumps(STATEMENT).encode()).decode()
    return {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": list(signatures)}


def read(folder: Path, *documents: object, name: str = "provenance.json") -> Any:
    path = folder / name
    path.write_text("\n".join(json.dumps(one) for one in documents))
    return read_statement(path, source="SUBJECT")


@pytest.mark.parametrize("document", [STATEMENT, make_envelope(), make_document()])
def test_forms(tmp_path: Path, document: object) -> None:
    found = read(tmp_path, document)
    assert (found.kind, found.predicate) == (SLSA_1, make_document())


def test_lines(tmp_path: Path) -> None:
    other = {**STATEMENT, "predicateType": "https://spdx.dev/Document"}
    assert read(tmp_path, other, STATEMENT, name="a.intoto.jsonl").kind == SLSA_1
    with pytest.raises(InputError, match="no SLSA provenance statement"):
        read(tmp_path, other, name="a.intoto.jsonl")
    with pytest.raises(InputError, match="signed DSSE envelope"):
        read(tmp_path, STATEMENT, make_envelope({"sig": "x"}), name="a.intoto.jsonl")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (make_envelope({"sig": "AAAA"}), "signed DSSE envelope, which cannot be verified"),
        ({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}, "signed sigstore bundle"),
        ({"verificationMaterial": {}, "messageSignature": {}}, "signed sigstore bundle"),
        ({"payload": "***", "signatures": []}, "not base64"),
        ({**STATEMENT, "_type": "x"}, "is not an in-toto statement"),
        ({}, "is not an in-toto statement"),
        ([1], "is not a JSON object"),
    ],
)
def test_refused_documents(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, document)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    for name, message in (("a.json", "is not JSON"), ("b.json", "cannot read 'b.json'")):
        with pytest.raises(InputError, match=message):
            read_statement(tmp_path / name, source="SUBJECT")


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_PROVENANCE + 1)
    with pytest.raises(InputError, match="more than 16 MiB"):
        read_statement(path, source="SUBJECT")
