import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.fsutil.packets import PacketKind
from ci_buildx.fsutil.sender import EntryIndex, TreeSender
from ci_buildx.fsutil.walk import walk_tree
from tests.unit.fsutil.growing import grow
from tests.unit.fsutil.peers import announced, content, messages, produced

BIG = 700_000


def sender_of(root: Path) -> TreeSender:
    return TreeSender(walk_tree(root), root=root)


def test_a_whole_transfer(tmp_path: Path) -> None:
    grow(tmp_path, "a/b", "a/empty", "c -> a", "d")
    (tmp_path / "a/empty").write_bytes(b"")
    sender = sender_of(tmp_path)
    stats = produced(sender)
    assert [entry.path for entry in announced(stats)] == [b"a", b"a/b", b"a/empty", b"c", b"d"]
    assert stats[-1] == packets.Packet(PacketKind.STAT)
    for number in (4, 1, 2):
        sender.receive(packets.encode_request(number))
    data = produced(sender)
    assert [content(data, number) for number in (1, 2, 4)] == [b"content of a/b", b"", b"content of d"]
    assert not sender.finished
    sender.receive(packets.FIN)
    assert [packet.kind for packet in produced(sender)] == [PacketKind.FIN]
    assert sender.finished and not sender.failure


@pytest.mark.parametrize("size", [0, 1, 4096, 65_535, 65_536, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, BIG])
@pytest.mark.parametrize("room", [1, 4096, 65_536, 1 << 20])
def test_room_is_kept_to_and_content_is_whole(tmp_path: Path, size: int, room: int) -> None:
    if room == 1 and size > 4096:
        size = 4096
    (tmp_path / "file").write_bytes(expected := os.urandom(size))
    sender = sender_of(tmp_path)
    produced(sender)
    sender.receive(packets.encode_request(0))
    found = []
    while out := sender.produce(room):
        # A piece of one byte cannot be avoided where there is no room; nor the message that ends a file.
        assert len(out) <= max(room, 32) + 16
        found.append(out)
    assert not sender.failure
    data = [packets.decode_packet(message) for out in found for message in messages(out)]
    assert content(data, 0) == expected
    assert len(found) <= 2 + size / max(1, min(room - 24, 256 * 1024)) * 1.1


def test_files_are_sent_while_the_walk_goes_on(tmp_path: Path) -> None:
    def entries() -> Iterator[TreeEntry]:
        yield TreeEntry(b"a", 0o644, 3)
        for number in range(1000):
            yield TreeEntry(b"b%04d" % number, 1 << 31)

    (tmp_path / "a").write_bytes(b"abc")
    sender = TreeSender(entries(), root=tmp_path)
    sender.produce(100)
    sender.receive(packets.encode_request(0))
    found = [packets.decode_packet(message) for message in messages(sender.produce(4000))]
    assert content(found, 0) == b"abc"
    assert 0 < len(announced(found)) < 1000


@pytest.mark.parametrize("room", [24_000, 64_000, 128_000])
def test_small_files_and_announcements_of_others_go_side_by_side(tmp_path: Path, room: int) -> None:
    """buildkitd writes content while it makes the files announced next, if neither waits for all of the other."""
    for number in range(1000):
        (tmp_path / f"file{number:04}").write_bytes(bytes(2000))
    sender = sender_of(tmp_path)
    for number, _ in enumerate(messages(sender.produce(4000))):
        sender.receive(packets.encode_request(number))
    found = [packets.decode_packet(message) for message in messages(sender.produce(room))]
    files = sum(packet.kind is PacketKind.DATA and not packet.content for packet in found)
    assert files / 3 <= len(announced(found)) <= 3 * files


def test_announcements_fill_a_message_after_the_last_pending_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    for number in range(100):
        (tmp_path / f"b{number:02}").touch()
    sender = sender_of(tmp_path)
    sender.produce(40)
    sender.receive(packets.encode_request(0))
    found = [packets.decode_packet(message) for message in messages(sender.produce(8192))]
    end = next(place for place, packet in enumerate(found) if packet.kind is PacketKind.DATA and not packet.content)
    before, after = announced(found[:end]), announced(found[end:])
    assert 0 < len(before) < 20
    assert after[-1].path == b"b99"


def test_a_large_file_leaves_room_for_announcements(tmp_path: Path) -> None:
    """buildkitd compares the rest of the tree while the file arrives."""
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    for number in range(1000):
        (tmp_path / f"b{number:03}").touch()
    sender = sender_of(tmp_path)
    sender.produce(40)
    sender.receive(packets.encode_request(0))
    sender.produce(16_384)
    found = [packets.decode_packet(message) for message in messages(sender.produce(16_384))]
    assert len(announced(found)) > 16_384 / 4 / 50


def test_no_crumbs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(60_000))
    (tmp_path / "b").write_bytes(bytes(60_000))
    sender = sender_of(tmp_path)
    produced(sender)
    for number in (0, 1):
        sender.receive(packets.encode_request(number))
    pieces = [packet for packet in produced(sender, 62_000) if packet.content]
    assert [len(piece.content) for piece in pieces] == [60_000, 60_000]


def swap_for_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swap_for_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def swap_for_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Path.unlink, "folder/file vanished"),
        (swap_folder, "folder/file vanished"),
        (lambda path: os.truncate(path, 10), "folder/file shrank while it was being sent; it had 700000 bytes"),
        (lambda path: os.truncate(path, 0), "folder/file shrank"),
        (lambda path: os.truncate(path, BIG + 1), "folder/file grew"),
        (swap_for_folder, "folder/file is no longer a regular file"),
        (swap_for_symlink, "folder/file cannot be read: Too many levels of symbolic links"),
        (swap_for_fifo, "folder/file is no longer a regular file"),
    ],
)
def test_what_changes_after_it_was_announced_is_an_error_that_names_it(
    tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_bytes(bytes(BIG))
    sender = sender_of(tmp_path)
    produced(sender)
    sender.receive(packets.encode_request(1))
    change(file)
    last = produced(sender)[-1]
    assert last.kind is PacketKind.ERROR
    assert last.content.decode() == sender.failure
    assert reason in sender.failure
    assert sender.finished and sender.produce(1000) == b""


@pytest.mark.parametrize(("size", "reason"), [(400_000, "shrank"), (BIG + 5, "grew")])
def test_what_changes_in_the_middle_is_an_error(tmp_path: Path, size: int, reason: str) -> None:
    (tmp_path / "file").write_bytes(bytes(BIG))
    sender = sender_of(tmp_path)
    produced(sender)
    sender.receive(packets.encode_request(0))
    assert sender.produce(500_000) and not sender.failure
    os.truncate(tmp_path / "file", size)
    produced(sender)
    assert f"file {reason}" in sender.failure


def test_an_unreadable_file_is_an_error_that_names_it() -> None:
    # The first page of a process's memory: opening works, reading fails, for root as well.
    sender = TreeSender([TreeEntry(b"self", 1 << 31), TreeEntry(b"self/mem", 0o600, 10)], root=Path("/proc"))
    produced(sender)
    sender.receive(packets.encode_request(1))
    produced(sender)
    assert sender.failure == "self/mem cannot be read: Input/output error"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    def entries() -> Iterator[TreeEntry]:
        yield TreeEntry(b"a", 0o644)
        raise PermissionError(13, "Permission denied", b"secret\nfolder")

    sender = TreeSender(entries(), root=tmp_path)
    assert [packet.kind for packet in produced(sender)] == [PacketKind.STAT, PacketKind.ERROR]
    assert sender.failure == "cannot read secret\\nfolder: Permission denied"


def test_a_malformed_pattern_is_named(tmp_path: Path) -> None:
    sender = TreeSender(walk_tree(grow(tmp_path, "a"), exclude=["[b-a]"]), root=tmp_path)
    produced(sender)
    assert "malformed pattern '[b-a]'" in sender.failure


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    sender = sender_of(tmp_path / "absent")
    produced(sender)
    assert sender.failure == "cannot read .: No such file or directory"


def test_a_socket_arrives_empty(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "socket"))
    sender = sender_of(tmp_path)
    produced(sender)
    sender.receive(packets.encode_request(0))
    assert content(produced(sender), 0) == b""
    assert not sender.failure


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (packets.encode_request(0), "no file has the number 0"),
        (packets.encode_request(9), "no file has the number 9"),
        (packets.encode_request(1), ""),
        (packets.encode_error("disk full"), "BuildKit could not receive the files: disk full"),
        (packets.make_data_header(1, 0), "BuildKit sent DATA"),
        (b"\x08", "BuildKit sent an invalid packet"),
    ],
)
def test_what_a_broken_receiver_asks_for(tmp_path: Path, packet: bytes, reason: str) -> None:
    sender = sender_of(grow(tmp_path, "a/b"))
    produced(sender)
    sender.receive(packet)
    produced(sender)
    assert sender.failure.startswith(reason) and bool(sender.failure) == bool(reason)
    assert sender.finished == bool(reason)


def test_a_file_is_sent_once(tmp_path: Path) -> None:
    sender = sender_of(grow(tmp_path, "a"))
    produced(sender)
    sender.receive(packets.encode_request(0))
    sender.receive(packets.encode_request(0))
    produced(sender)
    assert "already requested" in sender.failure


def test_closing_lets_go_of_everything(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(BIG))
    before = len(list(Path("/proc/self/fd").iterdir()))
    sender = sender_of(tmp_path)
    produced(sender)
    sender.receive(packets.encode_request(0))
    sender.produce(1000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    sender.close()
    sender.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_any_bytes_from_the_receiver_end_in_a_value_or_a_failure(received: list[bytes]) -> None:
    sender = TreeSender([], root=Path("/"))
    for packet in received:
        sender.receive(packet)
    produced(sender)


PATHS: st.SearchStrategy[dict[bytes, object]] = st.recursive(
    st.just({}),
    lambda below: st.dictionaries(st.binary(min_size=1, max_size=3).filter(lambda n: b"/" not in n), below),
    max_leaves=20,
)


@given(PATHS)
def test_the_index_finds_every_path(tree: dict[bytes, object]) -> None:
    def paths(folder: dict[bytes, object], prefix: bytes) -> Iterator[tuple[bytes, bool]]:
        for name in sorted(folder):
            below = folder[name]
            assert isinstance(below, dict)
            yield prefix + name, bool(below)
            yield from paths(below, prefix + name + b"/")

    index = EntryIndex()
    expected = list(paths(tree, b""))
    for size, (path, folder) in enumerate(expected):
        index.add(path, folder=folder, size=-1 if folder else size)
    assert [index.make_path(number) for number in range(len(index))] == [path for path, _ in expected]
    assert [index.take(n) for n, (_, folder) in enumerate(expected) if not folder] == [
        (path, n) for n, (path, folder) in enumerate(expected) if not folder
    ]


def test_the_index_is_small() -> None:
    count = 20_000
    tracemalloc.start()
    index = EntryIndex()
    for number in range(count):
        index.add(b"some/folder/file%05d" % number, folder=False, size=number)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 60 * count
