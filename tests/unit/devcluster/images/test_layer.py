import io
import os
import tarfile
from pathlib import Path

import pytest

from devcluster.images import layer
from devcluster.images.layer import Entry, File, Folder, Link


def archive(*entries: Entry) -> bytes:
    stream = io.BytesIO()
    layer.write(entries, stream)
    return stream.getvalue()


def members(*entries: Entry) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive(*entries))) as opened:
        return {member.name: member for member in opened}


def test_equal_entries_in_any_order_make_equal_archives(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"content")
    entries: list[Entry] = [
        File(path="/bin/program", source=source, mode=0o755),
        Link(path="/bin/other", target="program"),
        Folder(path="/tmp", mode=0o1777),
    ]
    first = archive(*entries)
    os.utime(source, (1, 1))
    assert archive(*reversed(entries)) == first


def test_parents_come_before_their_children() -> None:
    assert list(members(File(path="/a/b/c", source=b""))) == ["a", "a/b", "a/b/c"]
    assert members(File(path="/a/b", source=b""))["a"].mode == 0o755


def test_an_explicit_folder_keeps_its_mode_and_owner() -> None:
    made = members(File(path="/home/user/file", source=b"", owner=1000), Folder(path="/home/user", mode=0o700, owner=7))
    assert (made["home/user"].mode, made["home/user"].uid, made["home/user"].gid) == (0o700, 7, 7)
    assert (made["home/user/file"].uid, made["home"].uid) == (1000, 0)


def test_nothing_of_the_host_but_content_gets_in(tmp_path: Path) -> None:
    source = tmp_path / "secretly-named"
    source.write_bytes(b"content")
    file = members(File(path="/etc/file", source=source, mode=0o644))["etc/file"]
    assert (file.mtime, file.uname, file.gname, file.mode, file.size) == (0, "", "", 0o644, 7)


def test_the_last_of_two_entries_with_one_path_counts() -> None:
    made = members(File(path="/etc/passwd", source=b"a"), File(path="/etc/passwd", source=b"longer"))
    assert made["etc/passwd"].size == 6


def test_a_capability_is_an_extended_attribute() -> None:
    """The bytes are vfs_cap_data of linux/capability.h: revision 2 and effective, permitted, inheritable, twice."""
    value = bytes.fromhex("0100000280000000000000000000000000000000")
    content = archive(File(path="/usr/bin/newuidmap", source=b"", mode=0o755, capability=7))
    assert b"SCHILY.xattr.security.capability=" + value + b"\n" in content


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "/a/", ""])
def test_unclean_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path in an image"):
        archive(Folder(path=path))


def test_a_fingerprint_tells_entries_apart(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"content")
    os.utime(source, (1, 1))
    base = File(path="/program", source=source, mode=0o755)
    others: list[Entry] = [
        File(path="/program2", source=source, mode=0o755),
        File(path="/program", source=source, mode=0o644),
        File(path="/program", source=source, mode=0o755, owner=1),
        File(path="/program", source=source, mode=0o755, capability=6),
        File(path="/program", source=b"content", mode=0o755),
        Link(path="/program", target="x"),
        Folder(path="/program"),
    ]
    prints = {layer.fingerprint([entry]) for entry in [base, *others]}
    assert len(prints) == len(others) + 1
    assert layer.fingerprint([base]) in prints


def test_a_fingerprint_follows_the_source(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"content")
    entry = File(path="/program", source=source)
    before = layer.fingerprint([entry])
    assert layer.fingerprint([entry]) == before
    os.utime(source, (2, 2))
    assert layer.fingerprint([entry]) != before


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        layer.fingerprint([File(path="/program", source=tmp_path / "absent")])
