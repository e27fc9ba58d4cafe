"""The struct of tests/differential/gotemplate, with a document for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_buildx.gotemplate.functions import DOCKER, make_json_function
from ci_buildx.gotemplate.kinds import (
    ANY,
    BOOLEAN,
    FLOAT,
    INTEGER,
    OCTETS,
    TEXT,
    TIME,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    StructField,
    StructKind,
    decode,
)
from ci_buildx.gotemplate.template import GoTemplate

FUNCTIONS = {**DOCKER, "json": make_json_function(indent="  ")}
PLATFORM = StructKind(
    "main.Platform",
    (
        StructField(name="Architecture", kind=TEXT, json="architecture"),
        StructField(name="OS", kind=TEXT, json="os"),
        StructField(name="Variant", kind=TEXT, json="variant", omit=True),
    ),
)
ENTRY = StructKind(
    "main.Entry",
    (
        StructField(name="Digest", kind=TEXT, json="digest"),
        StructField(name="Size", kind=INTEGER, json="size"),
        StructField(name="Annotations", kind=MapKind(TEXT), json="annotations", omit=True),
        StructField(name="Platform", kind=PointerKind(PLATFORM), json="platform", omit=True),
    ),
)
SAMPLE = StructKind(
    "main.Sample",
    (
        StructField(name="Created", kind=PointerKind(TIME), json="created", omit=True),
        StructField(name="Author", kind=TEXT, json="author", omit=True),
        StructField(name="Platform", kind=PLATFORM, embedded=True),
        StructField(name="Env", kind=ListKind(TEXT), json="Env", omit=True),
        StructField(name="Size", kind=INTEGER, json="size"),
        StructField(name="Ratio", kind=FLOAT, json="ratio"),
        StructField(name="Big", kind=BOOLEAN, json="big", omit=True),
        StructField(name="Ports", kind=MapKind(StructKind("struct {}", ())), json="ports", omit=True),
        StructField(name="Data", kind=OCTETS, json="data", omit=True),
        StructField(name="Labels", kind=MapKind(TEXT), json="labels"),
        StructField(name="Any", kind=ANY, json="any"),
        StructField(name="Entries", kind=ListKind(ENTRY), json="entries"),
        StructField(name="First", kind=PointerKind(ENTRY), json="first", omit=True),
        StructField(name="None", kind=PointerKind(ENTRY), json="none"),
        StructField(name="Empty", kind=ListKind(TEXT), json="empty"),
    ),
)
DOCUMENT: dict[str, Any] = {
    "created": "2026-01-02T03:04:05.678900000+00:00",
    "AUTHOR": 'A <a@example.org> & "B"\u2028',
    "architecture": "arm64",
    "os": "linux",
    "unknown": [1, {"x": None}],
    "Env": ["PATH=/bin", "EMPTY="],
    "size": 1234567,
    "ratio": 0.5,
    "big": True,
    "ports": {"80/tcp": {}, "443/tcp": {}},
    "data": "aGk=",
    "labels": {"b": "2", "a": "1", "ä": "ü"},
    "any": {
        "list": [1, 2.5, "x", None, True, 1e21, 1e-7, 12345678901234567],
        "text": "t",
        "nested": {"deep": {"er": "yes"}},
    },
    "entries": [
        {"digest": "sha256:aa", "size": 10, "platform": {"architecture": "amd64", "os": "linux"}},
        {"digest": "sha256:bb", "size": 20, "annotations": {"k": "v"}},
    ],
    "first": {"digest": "sha256:cc", "size": 0},
    "none": None,
}
#: Templates with the text that Go's text/template 1.26 makes of the document; None where it fails.
VECTORS: dict[str, str | None] = json.loads(Path(__file__).with_name("vectors.json").read_text())


def evaluate(template: str, document: Any = DOCUMENT) -> str:
    """Return what a template makes of a document. Raises InputError."""
    value = GoValue(SAMPLE, decode(SAMPLE, json.loads(json.dumps(document))))
    return GoTemplate(template, FUNCTIONS, source="--format").execute(value)
