import io
import json
from base64 import b64decode

import pytest

from ci_buildx.model.status import ProgressGroup, StatusUpdate, Vertex, VertexLog, VertexStatus
from ci_buildx.progress.rawjson import RawJsonLog, encode_status
from ci_buildx.progress.renderer import TextOutlet
from tests.unit.progress.recorded import FINDING


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (StatusUpdate(), {}),
        (
            StatusUpdate(
                vertexes=(
                    Vertex(
                        digest="sha256:aa",
                        inputs=("sha256:bb",),
                        name="[1/2] FROM x",
                        started=1_700_000_000.25,
                        completed=1_700_000_001.0,
                        cached=True,
                        group=ProgressGroup(id="g", name="n", weak=True),
                    ),
                )
            ),
            {
                "vertexes": [
                    {
                        "digest": "sha256:aa",
                        "inputs": ["sha256:bb"],
                        "name": "[1/2] FROM x",
                        "started": "2023-11-14T22:13:20.25Z",
                        "completed": "2023-11-14T22:13:21Z",
                        "cached": True,
                        "progressGroup": {"id": "g", "name": "n", "weak": True},
                    }
                ]
            },
        ),
        (
            StatusUpdate(statuses=(VertexStatus(id="extracting", vertex="sha256:aa", timestamp=1_700_000_000.0),)),
            {
                "statuses": [
                    {"id": "extracting", "vertex": "sha256:aa", "current": 0, "timestamp": "2023-11-14T22:13:20Z"}
                ]
            },
        ),
        (
            StatusUpdate(logs=(VertexLog(vertex="sha256:aa", stream=2, data=b"\xff\n", timestamp=1_700_000_000.0),)),
            {
                "logs": [
                    {"vertex": "sha256:aa", "stream": 2, "data": "/wo=", "timestamp": "2023-11-14T22:13:20Z"},
                ]
            },
        ),
    ],
)
def test_the_form_is_that_of_go(status: StatusUpdate, expected: object) -> None:
    text = encode_status(status)
    assert "\n" not in text
    assert json.loads(text) == expected


def test_a_finding_says_where() -> None:
    warning = json.loads(encode_status(StatusUpdate(warnings=(FINDING,))))["warnings"][0]
    assert warning["sourceInfo"] == {"filename": "Dockerfile"}
    assert warning["range"] == [{"start": {"line": 4}, "end": {"line": 4}}]
    assert warning["detail"] == ["RXhlYyBmb3JtIGtlZXBzIHNpZ25hbHMgaW50YWN0"]


def test_a_warning_with_bytes_that_are_not_utf8_is_written() -> None:
    """Names of files hold them as surrogates (PEP 383)."""
    stream = io.StringIO()
    RawJsonLog(TextOutlet(stream)).warn("cannot read a\udcff")
    assert b64decode(json.loads(stream.getvalue())["warnings"][0]["short"]) == b"cannot read a?"
