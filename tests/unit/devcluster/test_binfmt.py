import json
from pathlib import Path

from devcluster import binfmt
from devcluster.binfmt import Registration

LISTING = """\
entry qemu-aarch64
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c4602010100
entry python3
enabled
interpreter /opt/entry points/python
flags:\x20
"""
DEBIAN = Registration(interpreter="/usr/libexec/qemu-binfmt/aarch64-binfmt-P", flags="POF")


def test_descriptions_are_read_by_name() -> None:
    assert dict(binfmt.parse(LISTING)) == {
        "qemu-aarch64": DEBIAN,
        "python3": Registration(interpreter="/opt/entry points/python", flags=""),
    }
    assert dict(binfmt.parse("")) == {}


def test_ours_is_what_came_since_from_us_or_from_the_image() -> None:
    present = {
        "qemu-aarch64": DEBIAN,
        "qemu-s390x": Registration(interpreter="/usr/bin/qemu-s390x", flags="CFP"),
        "qemu-riscv64": Registration(interpreter="/usr/bin/qemu-riscv64-static", flags="F"),
        "qemu-ppc64le": Registration(interpreter="/usr/bin/qemu-ppc64le", flags="P"),
        "python3": Registration(interpreter="/usr/bin/python3", flags="F"),
    }
    assert binfmt.ours(present, before=[]) == ["qemu-aarch64", "qemu-s390x"]
    assert binfmt.ours(present, before=["qemu-aarch64"]) == ["qemu-s390x"]


def test_the_first_note_of_a_boot_counts(tmp_path: Path) -> None:
    note = binfmt.note(tmp_path)
    assert binfmt.known(note) is None
    binfmt.remember(note, ["qemu-arm"])
    binfmt.remember(note, ["qemu-arm", "qemu-s390x"])
    assert binfmt.known(note) == ["qemu-arm"]
    note.write_text(json.dumps({"boot": "an earlier one", "before": []}))
    assert binfmt.known(note) is None
    binfmt.remember(note, [])
    assert binfmt.known(note) == []


def test_a_note_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    binfmt.note(tmp_path).write_text('{"boot": ')
    assert binfmt.known(binfmt.note(tmp_path)) is None
