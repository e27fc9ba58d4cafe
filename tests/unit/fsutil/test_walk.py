"""What fsutil's tests say of walks (``filter_test.go``, ``followlinks_test.go``), as data; the fields of entries."""

import errno
import os
import random
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil import walk
from ci_buildx.fsutil.entry import PatternError, TreeEntry, format_path
from ci_buildx.fsutil.receiver import EntryOrder
from devcluster import random_trees as trees
from tests.unit.fsutil.growing import described, grow

FORKED = ("a/b/baz/", "a/b/bar/foo", "a/b/bar/fop", "bar/foo", "baz/", "foo2", "foo/bar/bee")
LINKED = ("bar", "foo/l1 -> /baz/one", "foo/l2 -> /baz/two", "baz/one", "baz/two -> ../bax", "bax", "bay")


def found(root: Path, **patterns: Iterable[str]) -> list[str]:
    return [described(entry) for entry in walk.walk_tree(root, **{key: list(value) for key, value in patterns.items()})]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("bar", ["bar/", "bar/foo"]),
        ("bar/foo", ["bar/", "bar/foo"]),
        ("b*", ["bar/", "bar/foo"]),
        ("bar/f*", ["bar/", "bar/foo"]),
        ("bar/g*", []),
        ("f*", ["foo2"]),
        ("b*/f*", ["bar/", "bar/foo"]),
        ("b*/foo", ["bar/", "bar/foo"]),
        ("b*/", ["bar/", "bar/foo"]),
        ("/bar", []),
        ("./bar/.", ["bar/", "bar/foo"]),
    ],
)
def test_include(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    assert found(grow(tmp_path, "bar/foo", "foo2"), include=[pattern]) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["a/", "a/b/", "a/b/bar/", "a/b/bar/foo", "a/b/bar/fop", "a/b/baz/", "bar/", "bar/foo", "baz/", "foo/",
                "foo/bar/", "foo/bar/bee", "foo2"]),
        ("**/bar", ["a/", "a/b/", "a/b/bar/", "a/b/bar/foo", "a/b/bar/fop", "bar/", "bar/foo", "foo/", "foo/bar/",
                    "foo/bar/bee"]),
        ("**/bar/foo", ["a/", "a/b/", "a/b/bar/", "a/b/bar/foo", "bar/", "bar/foo"]),
        ("**/bar/f*", ["a/", "a/b/", "a/b/bar/", "a/b/bar/foo", "a/b/bar/fop", "bar/", "bar/foo"]),
        ("**/bar/g*", []),
        ("**/b*/foo", ["a/", "a/b/", "a/b/bar/", "a/b/bar/foo", "bar/", "bar/foo"]),
        ("**/foo/**", ["foo/", "foo/bar/", "foo/bar/bee"]),
        ("**/baz", ["a/", "a/b/", "a/b/baz/", "baz/"]),
    ],
)  # fmt: skip
def test_include_at_any_depth(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    assert found(grow(tmp_path, *FORKED), include=[pattern]) == expected


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        (["foo*", "!foo/bar2"], ["bar", "foo/", "foo/bar2"]),
        (["foo", "!foo/bar2"], ["bar", "foo/", "foo/bar2", "foo2"]),
        (["foo", "!foo/b*"], ["bar", "foo/", "foo/bar2", "foo2"]),
        (["foo", "!other"], ["bar", "foo2"]),
        (["*", "!bar"], ["bar"]),
        (["**"], []),
        (["!foo"], ["bar", "foo/", "foo/bar2", "foo2"]),
        (["foo/*"], ["bar", "foo/", "foo2"]),
        ([" ", ""], ["bar", "foo/", "foo/bar2", "foo2"]),
    ],
)
def test_exclude(tmp_path: Path, exclude: list[str], expected: list[str]) -> None:
    assert found(grow(tmp_path, "bar", "foo2", "foo/bar2"), exclude=exclude) == expected


@pytest.mark.parametrize(
    ("lines", "follow", "resolved"),
    [
        (["dir/foo", "dir/l1 -> foo", "l2 -> dir/l1", "bar", "baz"], ["l2", "bar"], ["bar", "dir/foo", "dir/l1", "l2"]),
        (["l1 -> l1", "l2 -> l3", "l3 -> l2"], ["l1", "l3"], ["l1", "l2", "l3"]),
        (["dir/l1 -> /foo/bar/baz", "foo/bar -> ../", "baz"], ["dir/l1"], ["baz", "dir/l1", "foo/bar"]),
        (["dir/l1 -> /foo/bar/baz", "foo/bar -> ../../../", "baz"], ["dir/l1"], ["baz", "dir/l1", "foo/bar"]),
        ([], ["foo/bar/baz", "bar/baz"], ["bar/baz", "foo/bar/baz"]),
        ([], ["."], None),
        ([], ["f*/foo/t*"], ["f*/foo/t*"]),
        ([], ["foo/bar/baz", "foo/bar"], ["foo/bar"]),
        (["dir/l1 -> /foo", "dir/l2 -> /", "foo/bar"], ["dir/l1", "foo/bar"], ["dir/l1", "foo"]),
        (["dir/l1 -> /foo", "dir/l2 -> /", "foo/bar"], ["dir/l2", "foo", "foo/bar"], None),
        (["dir/l1 -> /foo/a", "dir/l2 -> /foo/b", "dir/n -> /c", "foo/b -> ../baz"], ["dir/l*"],
         ["baz", "dir/l*", "foo/a", "foo/b"]),
        (["dir/l1 -> /foo", "dir/anotherlink -> /bar3"], ["dir", "dir/*link"], ["bar3", "dir"]),
        (["file"], ["file/below", "../x", "../*"], ["../*", "../x", "file/below"]),
        (["a -> b"], ["[", "a/[x"], ["[", "a", "b/[x"]),
    ],
)  # fmt: skip
def test_follow(tmp_path: Path, lines: list[str], follow: list[str], resolved: list[str] | None) -> None:
    assert walk.resolve_follow_paths(os.fsencode(grow(tmp_path, *lines)), follow) == resolved


def test_followed_links_are_sent_with_their_targets(tmp_path: Path) -> None:
    assert found(grow(tmp_path, *LINKED), follow=["foo/l*", "bar"]) == [
        "bar", "bax", "baz/", "baz/one", "baz/two -> ../bax", "foo/", "foo/l1 -> /baz/one", "foo/l2 -> /baz/two",
    ]  # fmt: skip


def test_a_link_to_the_root_lifts_the_filter(tmp_path: Path) -> None:
    assert found(grow(tmp_path, "foo -> .", "bar", "bay/baz"), follow=["foo"]) == ["bar", "bay/", "bay/baz", "foo -> ."]


def test_order_is_by_bytes_within_each_folder(tmp_path: Path) -> None:
    assert found(grow(tmp_path, "d/x", "d-a", "d.b", "D", "é", "z")) == ["D", "d/", "d/x", "d-a", "d.b", "z", "é"]


@pytest.mark.parametrize("seed", range(20))
def test_every_walk_is_in_the_order_that_receivers_want(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    trees.plant(tmp_path, choice)
    order = EntryOrder()
    patterns = [pattern for pattern in trees.ask(choice).exclude if pattern not in trees.BROKEN]
    for entry in walk.walk_tree(tmp_path, exclude=patterns):
        order.check(entry)


def test_hardlinks_name_the_first_path_that_is_sent(tmp_path: Path) -> None:
    grow(tmp_path, "a/one", "b = a/one", "c/d = a/one", "e = a/one")
    assert found(tmp_path) == ["a/", "a/one", "b = a/one", "c/", "c/d = a/one", "e = a/one"]
    assert found(tmp_path, exclude=["a"]) == ["b", "c/", "c/d = b", "e = b"]
    assert found(tmp_path, include=["c", "e"]) == ["c/", "c/d", "e = c/d"]
    assert {entry.size for entry in walk.walk_tree(tmp_path) if entry.is_regular} == {len("content of a/one")}


def test_the_fields_of_an_entry(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "file").chmod(0o4751)
    os.utime(tmp_path / "file", ns=(0, -1_500_000_001))
    (tmp_path / "link").symlink_to("/nowhere/at/all")
    (tmp_path / "folder").mkdir(mode=0o700)
    file, folder, link = sorted(walk.walk_tree(tmp_path), key=lambda entry: entry.path)
    assert file == TreeEntry(b"file", fsutil_entry.SETUID | 0o751, 3, -1_500_000_001)
    assert (folder.mode, folder.size, folder.uid, folder.gid) == (fsutil_entry.DIRECTORY | 0o700, 0, 0, 0)
    assert (link.mode, link.size, link.linkname) == (fsutil_entry.SYMLINK | 0o777, 15, b"/nowhere/at/all")


def test_sockets_and_fifos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "socket"))
    fifo, sock = walk.walk_tree(tmp_path)
    assert (fifo.mode, fifo.is_regular) == (fsutil_entry.FIFO | 0o600, False)
    assert (sock.mode & fsutil_entry.TYPE, sock.size, sock.is_regular) == (0, 0, True)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(os.makedev(1, 3), (1, 3)), (os.makedev(259, 70_000), (259, 70_000)), (os.makedev(8, 255), (8, 255))],
)
def test_device_numbers(number: int, expected: tuple[int, int]) -> None:
    assert walk.split_device(number) == expected


def test_extended_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    values = {"user.b": b"2", "user.a": b"\xff", "com.apple.quarantine": b"x", "security.secret": None}
    monkeypatch.setattr(os, "listxattr", lambda path, follow_symlinks: list(values))

    def getxattr(path: bytes, name: str, follow_symlinks: bool) -> bytes:
        if (value := values[name]) is None:
            raise PermissionError(errno.EPERM, "no")
        return value

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert next(walk.walk_tree(tmp_path)).xattrs == {b"user.b": b"2", b"user.a": b"\xff"}


@pytest.mark.parametrize("name", [b"a b", b"a\nb", b"a\\b", "é".encode(), b"\xff\xfe", b"-", b"\x01", b" ", b"#", b"!"])
def test_any_name_travels_as_it_is(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).touch()
    (entry,) = walk.walk_tree(tmp_path, include=["?", "??", "a*b", r"a\\b", "\\#", "\\!"])
    assert entry.path == name
    assert "\n" not in format_path(name) and format_path(name).isprintable()


def test_what_vanishes_while_walking_was_never_there(tmp_path: Path) -> None:
    entries = walk.walk_tree(grow(tmp_path, "a", "b/c", "d"))
    assert described(next(entries)) == "a"
    (tmp_path / "b/c").unlink()
    (tmp_path / "b").rmdir()
    assert [described(entry) for entry in entries] == ["d"]


def test_a_folder_that_cannot_be_listed_is_named_unless_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(tmp_path, "foo/bar/baz", "foo/z")
    listdir = os.listdir

    def guarded(path: bytes) -> list[bytes]:
        if path.endswith(b"/bar"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", guarded)
    with pytest.raises(PermissionError) as caught:
        found(tmp_path)
    assert caught.value.filename == b"foo/bar"
    assert found(tmp_path, exclude=["**/bar"]) == ["foo/", "foo/z"]
    assert found(tmp_path, exclude=["**/bar", "!foo/bar/baz"]) == ["foo/", "foo/z"]
    assert found(tmp_path, include=["foo", "!**/bar"]) == ["foo/", "foo/z"]
    with pytest.raises(PermissionError):
        found(tmp_path, exclude=["**/bar", "!foo/bar"])


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        found(grow(tmp_path, "file") / "file")
    with pytest.raises(FileNotFoundError):
        found(tmp_path / "absent")


@pytest.mark.parametrize("patterns", [{"exclude": ["a", "["]}, {"include": ["!"]}, {"exclude": ["[z-a]"]}])
def test_malformed_patterns(tmp_path: Path, patterns: dict[str, list[str]]) -> None:
    with pytest.raises(PatternError, match="malformed pattern"):
        found(grow(tmp_path, "file"), **patterns)
