import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import TreeEntry, format_path
from ci_buildx.fsutil.packets import MOST_ATTRIBUTES, PacketKind
from ci_buildx.fsutil.receiver import MOST_ENTRIES, MOST_NAMED, MOST_OPEN, EntryAllowance, EntryOrder, TreeReceiver
from ci_buildx.fsutil.sender import TreeSender
from ci_buildx.fsutil.walk import walk_tree
from devcluster import random_trees as trees
from tests.unit.fsutil.growing import grow
from tests.unit.fsutil.peers import transfer

FOLDER = fsutil_entry.DIRECTORY | 0o755
SYMLINK = fsutil_entry.SYMLINK | 0o777


def copy(source: Path, target: Path, *, room: int = 1 << 16) -> None:
    sender, receiver = TreeSender(walk_tree(source), root=source), TreeReceiver(target)
    transfer(sender, receiver, room=room)
    assert (sender.failure, receiver.failure) == ("", "")
    assert sender.finished and receiver.finished


def told(target: Path, *entries: TreeEntry) -> TreeReceiver:
    """A receiver that was sent these entries, the end, and files of zeros."""
    receiver = TreeReceiver(target)
    answers = [answer for entry in entries for answer in receiver.receive(packets.encode_stat(entry))]
    answers += receiver.receive(packets.END_OF_STATS)
    for answer in answers:
        request = packets.decode_packet(answer)
        if request.kind is PacketKind.REQUEST:
            if size := entries[request.id].size:
                receiver.receive(packets.make_data_header(request.id, size) + bytes(size))
            receiver.receive(packets.make_data_header(request.id, 0))
    receiver.receive(packets.FIN)
    return receiver


@pytest.mark.parametrize("seed", range(25))
def test_random_trees_arrive_as_they_are(tmp_path: Path, seed: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    choice = random.Random(seed)
    trees.plant(source, choice)
    copy(source, target, room=choice.choice((1, 500, 5000, 1 << 20)))
    assert list(walk_tree(target)) == list(walk_tree(source))
    for entry in walk_tree(source):
        if entry.is_regular and entry.size:
            path = os.fsdecode(entry.path)
            assert (target / path).read_bytes() == (source / path).read_bytes()


def test_a_second_export_replaces_the_first_and_leaves_the_rest(tmp_path: Path) -> None:
    old = grow(tmp_path / "target", "file", "folder/kept", "was-folder/x", "was-file", "was-link -> /etc", "same")
    new = grow(tmp_path / "source", "file", "folder/new", "was-folder", "was-file/x", "was-link/x", "same")
    (new / "file").write_text("new")
    copy(new, old)
    assert (old / "file").read_text() == "new"
    assert (old / "folder/kept").exists() and (old / "folder/new").exists()
    assert (old / "was-folder").is_file() and (old / "was-file/x").is_file()
    assert not (old / "was-link").is_symlink() and (old / "was-link/x").is_file()
    assert not list(old.rglob(".kube-builder.*"))


def test_an_existing_file_is_replaced_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    target = grow(tmp_path / "target", "file -> ../outside")
    (target / "hard").hardlink_to(outside)
    copy(grow(tmp_path / "source", "file", "hard"), target)
    assert outside.read_text() == "untouched"


def test_a_read_only_folder_is_filled(tmp_path: Path) -> None:
    source = grow(tmp_path / "source", "folder/file")
    (source / "folder").chmod(0o555)
    for _ in range(2):
        copy(source, tmp_path / "target")
        assert (tmp_path / "target/folder").stat().st_mode & 0o777 == 0o555
        assert (tmp_path / "target/folder").stat().st_mtime_ns == (source / "folder").stat().st_mtime_ns


@pytest.mark.parametrize(
    "entries",
    [
        [TreeEntry(b"../x", 0o644)],
        [TreeEntry(b"..", FOLDER)],
        [TreeEntry(b"/etc/x", 0o644)],
        [TreeEntry(b"", 0o644)],
        [TreeEntry(b".", FOLDER)],
        [TreeEntry(b"a/../../x", 0o644)],
        [TreeEntry(b"a", FOLDER), TreeEntry(b"a/..", FOLDER)],
        [TreeEntry(b"a", FOLDER), TreeEntry(b"a//b", 0o644)],
        [TreeEntry(b"a/", FOLDER)],
        [TreeEntry(b"a\0b", 0o644)],
        [TreeEntry(b"a/b", 0o644)],
        [TreeEntry(b"link", SYMLINK, linkname=b"/"), TreeEntry(b"link/x", 0o644)],
        [TreeEntry(b"file", 0o644), TreeEntry(b"file/x", 0o644)],
        [TreeEntry(b"b", 0o644), TreeEntry(b"a", 0o644)],
        [TreeEntry(b"a", 0o644), TreeEntry(b"a", 0o644)],
        [TreeEntry(b"a", FOLDER), TreeEntry(b"a-b", 0o644), TreeEntry(b"a/c", 0o644)],
        [TreeEntry(b"a", 0o644, linkname=b"/etc/passwd")],
        [TreeEntry(b"a", 0o644, linkname=b"b"), TreeEntry(b"b", 0o644)],
        [TreeEntry(b"a", SYMLINK, linkname=b"/etc/passwd"), TreeEntry(b"b", 0o644, linkname=b"a")],
        [TreeEntry(b"a", FOLDER), TreeEntry(b"b", 0o644, linkname=b"a")],
        [
            TreeEntry(b"a", fsutil_entry.DIRECTORY | fsutil_entry.SYMLINK),
            TreeEntry(b"b", fsutil_entry.FIFO | fsutil_entry.DEVICE),
        ],
        [TreeEntry(b"a", 0o644, 1), TreeEntry(b"b", SYMLINK, linkname=b"")],
    ],
)  # fmt: skip
def test_a_tree_that_leads_out_or_is_wrong_is_refused(tmp_path: Path, entries: list[TreeEntry]) -> None:
    target = tmp_path / "in" / "target"
    receiver = told(target, *entries)
    assert receiver.finished and receiver.failure
    assert "\n" not in receiver.failure
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["target"]
    assert not list(target.rglob(".kube-builder.*"))
    assert receiver.receive(packets.END_OF_STATS) == []


def test_a_symlink_planted_meanwhile_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    receiver = TreeReceiver(tmp_path / "target")
    receiver.receive(packets.encode_stat(TreeEntry(b"a", FOLDER)))
    receiver.receive(packets.encode_stat(TreeEntry(b"a/b", 0o644)))
    (tmp_path / "target/a").rmdir()
    (tmp_path / "target/a").symlink_to(outside)
    receiver.receive(packets.make_data_header(1, 0))
    assert "cannot write" in receiver.failure
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        ([packets.FIN], "ended before all files"),
        ([packets.encode_request(0)], "requests a file"),
        ([packets.encode_error("no space")], "BuildKit could not send the files: no space"),
        ([packets.make_data_header(0, 0)], "number 0 was not requested"),
        ([b"\xff"], "malformed"),
        ([packets.END_OF_STATS, packets.encode_stat(TreeEntry(b"a", 0))], "comes after the end"),
        (
            [
                packets.encode_stat(TreeEntry(b"a", 0, 2)),
                packets.make_data_header(0, 1) + b"x",
                packets.make_data_header(0, 0),
            ],
            "has 1 bytes",
        ),
    ],
)
def test_a_sender_that_breaks_the_rules(tmp_path: Path, received: list[bytes], reason: str) -> None:
    receiver = TreeReceiver(tmp_path)
    for packet in received:
        receiver.receive(packet)
    assert receiver.finished and reason in receiver.failure
    assert not list(tmp_path.iterdir())


def test_closing_removes_what_is_unfinished(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    receiver = TreeReceiver(tmp_path)
    receiver.receive(packets.encode_stat(TreeEntry(b"a", 0o644, 5)))
    receiver.receive(packets.make_data_header(0, 1) + b"x")
    assert list(tmp_path.iterdir())
    receiver.close()
    receiver.close()
    assert not list(tmp_path.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_few_files_are_asked_for_at_once(tmp_path: Path) -> None:
    receiver = TreeReceiver(tmp_path)
    asked = [receiver.receive(packets.encode_stat(TreeEntry(b"%04d" % n, 0o644))) for n in range(1000)]
    assert sum(map(len, asked)) == 128
    assert receiver.receive(packets.make_data_header(5, 0)) == [packets.encode_request(128)]
    receiver.close()


NAMES = st.lists(st.sampled_from([b"a", b"b", b"..", b".", b"", b"a-", b"\0"]), min_size=1, max_size=3).map(b"/".join)


@given(st.lists(st.tuples(NAMES, st.sampled_from([FOLDER, SYMLINK, 0o644]), NAMES | st.just(b"")), max_size=8))
def test_whatever_passes_the_order_is_a_tree_in_its_order(drafts: list[tuple[bytes, int, bytes]]) -> None:
    order = EntryOrder()
    passed: list[TreeEntry] = []
    for path, mode, link in drafts:
        entry = TreeEntry(path, mode, linkname=link)
        try:
            order.check(entry)
        except ValueError as error:
            assert format_path(path) in str(error)
            break
        passed.append(entry)
    keys = [entry.path.split(b"/") for entry in passed]
    assert keys == sorted(keys)
    folders = {b""} | {entry.path for entry in passed if entry.is_folder}
    assert all(entry.path.rpartition(b"/")[0] in folders for entry in passed)


def stat(path: bytes, **more: Any) -> bytes:
    return packets.encode_stat(TreeEntry(path, **{"mode": 0o644, **more}))


def test_files_that_are_announced_without_end_are_not_kept(tmp_path: Path) -> None:
    assert (EntryAllowance()._entries, EntryAllowance()._named) == (MOST_ENTRIES, MOST_NAMED)
    allowance = EntryAllowance(entries=1000)
    earlier = TreeReceiver(tmp_path / "earlier", allowance=allowance)
    for number in range(400):
        earlier.receive(stat(b"%08d" % number))
    earlier.close()
    receiver = TreeReceiver(tmp_path / "target", allowance=allowance)
    for number in range(601):
        assert not receiver.failure
        receiver.receive(stat(b"%08d" % number))
    assert receiver.failure == (
        f"BuildKit sent an invalid tree: it has more than 1000 files, or names of more than {MOST_NAMED} bytes"
    )
    assert receiver.receive(stat(b"z")) == []


def test_names_that_are_announced_without_end_are_not_kept(tmp_path: Path) -> None:
    for more in ({"linkname": b"x" * 1000, "mode": SYMLINK}, {"xattrs": {b"user.x": b"x" * 1000}}):
        receiver = TreeReceiver(tmp_path / "target", allowance=EntryAllowance(named=10_000))
        for number in range(11):
            receiver.receive(stat(b"%d" % (100 + number), **more))
        assert "names of more than 10000 bytes" in receiver.failure


def test_a_file_with_attributes_without_end_is_refused(tmp_path: Path) -> None:
    receiver = TreeReceiver(tmp_path / "target")
    since = time.process_time()
    receiver.receive(stat(b"f", xattrs={b"%d" % number: b"" for number in range(MOST_ATTRIBUTES + 1)}))
    assert f"more than {MOST_ATTRIBUTES} extended attributes" in receiver.failure
    assert time.process_time() - since < 5


def test_files_that_have_begun_are_few(tmp_path: Path) -> None:
    receiver = TreeReceiver(tmp_path / "target")
    for number in range(MOST_OPEN + 1):
        receiver.receive(stat(b"%d" % (100 + number), size=2))
    for number in range(MOST_OPEN + 1):
        receiver.receive(packets.make_data_header(number, 1) + b"x")
    assert receiver.failure == f"BuildKit sent an invalid tree: more than {MOST_OPEN} files arrive at once"
    assert list((tmp_path / "target").iterdir()) == []


def test_a_device_number_beyond_the_system_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    receiver = TreeReceiver(target)
    receiver.receive(stat(b"f", size=3))
    receiver.receive(packets.make_data_header(0, 1) + b"x")
    receiver.receive(stat(b"z", mode=fsutil_entry.DEVICE | fsutil_entry.CHARACTER_DEVICE, major=1 << 62, minor=1 << 62))
    assert receiver.failure.startswith("BuildKit sent an invalid tree: ")
    assert receiver.finished
    assert list(target.iterdir()) == []


def test_a_file_takes_no_more_room_than_was_announced(tmp_path: Path) -> None:
    receiver = TreeReceiver(tmp_path / "target")
    receiver.receive(stat(b"f", size=3))
    receiver.receive(packets.make_data_header(0, 4) + b"long")
    assert receiver.failure.endswith('"f" has more bytes than the 3 that were announced')
    assert list((tmp_path / "target").iterdir()) == []
