"""What ``history`` reads of the records that builds left on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ci_buildx.build.local_state import read_state

REF = "kube/kube0/abc"
STATE = {"Target": "default", "LocalPath": "/home/me/app", "DockerfilePath": "/home/me/app/Dockerfile"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The file of a build, whose folder exists."""
    path = tmp_path / "refs" / REF
    path.parent.mkdir(parents=True)
    return path


def test_a_record_is_read(place: Path, tmp_path: Path) -> None:
    place.write_text(json.dumps({**STATE, "GroupRef": None}))
    assert read_state(str(tmp_path), REF) == STATE


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null", json.dumps({**STATE, "Target": "x" * 70_000})])
def test_a_record_that_cannot_be_read_is_none(text: str, place: Path, tmp_path: Path) -> None:
    place.write_text(text)
    assert read_state(str(tmp_path), REF) == {}


def test_a_missing_record_a_link_and_a_pipe_are_none(place: Path, tmp_path: Path) -> None:
    assert read_state(str(tmp_path), REF) == {}
    (tmp_path / "elsewhere").write_text(json.dumps(STATE))
    place.symlink_to(tmp_path / "elsewhere")
    assert read_state(str(tmp_path), REF) == {}
    place.unlink()
    os.mkfifo(place)
    assert read_state(str(tmp_path), REF) == {}
    place.unlink()
    place.mkdir()
    assert read_state(str(tmp_path), REF) == {}


@pytest.mark.parametrize(
    "ref", ["kube/kube0/..", "kube/../outside", "../refs/outside", "kube//outside", "a/b/c/d", "/outside", "x/y/z\n"]
)
def test_a_reference_does_not_lead_out_of_the_folder(ref: str, place: Path, tmp_path: Path) -> None:
    """Any client of a builder chooses the references of its builds."""
    place.write_text(json.dumps(STATE))
    (tmp_path / "outside").write_text(json.dumps(STATE))
    (tmp_path / "refs" / "outside").write_text(json.dumps(STATE))
    assert read_state(str(tmp_path), ref) == {}
