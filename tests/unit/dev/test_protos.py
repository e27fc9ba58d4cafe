"""The tables of our messages are those that dev/protos.py writes from the .proto files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dev import protos

WITHOUT_TABLES = {"fsutil.proto"}
"""Read and written by hand, for speed; tests/unit/fsutil holds that against protoc's code."""


def test_they_are_up_to_date() -> None:
    """``make protos`` writes them."""
    assert [str(path) for path, _ in protos.render(protos.PACKAGE)] == []


def test_every_definition_has_its_tables() -> None:
    regions = [found for path in protos.PACKAGE.rglob("*.py") for found in protos._REGION.finditer(path.read_text())]
    defined = {path.name for path in protos.PACKAGE.rglob("*.proto")}
    assert sorted(found["proto"] for found in regions) == sorted(defined - WITHOUT_TABLES)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the session's messages and their definition."""
    for name in ("session.proto", "auth.py"):
        (found,) = (path for path in protos.PACKAGE.rglob(name) if path.with_name("session.proto").exists())
        shutil.copy(found, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        ("string realm = 3;", "string realm = 13;", 'make_field(13, "realm", TEXT)'),
        ("string realm = 3;", "bytes realm = 3;", 'make_field(3, "realm", BYTES)'),
        ("string realm = 3;", "repeated string realm = 3;", 'make_repeated_field(3, "realm", TEXT)'),
        ("string realm = 3;", "map<string, bytes> realm = 3;", 'make_map_field(3, "realm", BYTES)'),
        ("string realm = 3;", "string kingdom = 3;", 'make_field(3, "kingdom", TEXT)'),
        ("string realm = 3;", "bytes realm = 3;  // python: INTEGER", 'make_field(3, "realm", INTEGER)'),
        (
            "message FetchTokenRequest {",
            "// python: _ASK = ask\nmessage FetchTokenRequest {",
            "_ASK = MessageSchema(\n    ask,",
        ),
    ],
)
def test_a_changed_definition_shows(copy: Path, before: str, after: str, written: str) -> None:
    assert list(protos.render(copy)) == []
    proto, module = copy / "session.proto", copy / "auth.py"
    changed = proto.read_text().replace(before, after)
    assert changed != proto.read_text()
    proto.write_text(changed)
    found = dict(protos.render(copy)).get(module, module.read_text())
    assert written in found


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("string realm = 3;", "string realm = 3", "protoc refuses it"),
        ("string realm = 3;", "double realm = 3;", "no such type"),
        ("message FetchTokenRequest {", "// python: what?\nmessage FetchTokenRequest {", "cannot read the comment"),
    ],
)
def test_what_cannot_be_a_table_is_refused(copy: Path, before: str, after: str, said: str) -> None:
    proto = copy / "session.proto"
    proto.write_text(re.sub(re.escape(before), after, proto.read_text()))
    with pytest.raises(SystemExit, match=said):
        list(protos.render(copy))
