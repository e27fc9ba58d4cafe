"""Files out and in, over the wire; what fsutil does with packets is tested there."""

import io
import os
import stat
from pathlib import Path

import pytest

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.packets import PacketKind
from ci_buildx.fsutil.sender import TreeSender
from ci_buildx.fsutil.walk import walk_tree
from ci_buildx.session.call import GrpcStatus
from ci_buildx.session.file_targets import FileTarget, FolderTarget
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService, read_list
from ci_buildx.wire import http2, http2_streams
from ci_buildx.wire.http2_streams import FrameType
from tests.unit.session import daemon
from tests.unit.session.conversation import Conversation

SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
SEND = "/moby.filesync.v1.FileSend/DiffCopy"
EXPORTER = "buildkit-attachable-exporter-id"


def announced(talk: Conversation, stream: int) -> list[str]:
    """The paths of all stats up to their end."""
    while packets.END_OF_STATS not in talk.answer(stream).messages:
        talk.listen()
    decoded = [packets.decode_packet(message) for message in talk.answer(stream).messages]
    return [packet.entry.path.decode() for packet in decoded if packet.entry is not None]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with a large file, a name with an accent and a file to ignore."""
    folder = tmp_path / "context"
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "x").write_bytes(b"x" * 100_000)
    (folder / "é.txt").write_text("unicode")
    (folder / "no.log").write_text("left out")
    return folder


def test_a_folder_is_sent(context: Path) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    stream = talk.call(SYNC, metadata=[("dir-name", "context"), ("exclude-patterns", "*.log")])
    assert announced(talk, stream) == ["d", "d/x", "é.txt"]
    talk.say(daemon.message(stream, packets.encode_request(1)))
    ended = packets.make_data_header(1, 0)
    while ended not in talk.answer(stream).messages:
        talk.listen()
    decoded = [packets.decode_packet(message) for message in talk.answer(stream).messages]
    assert b"".join(packet.content for packet in decoded if packet.kind is PacketKind.DATA) == b"x" * 100_000
    talk.say(daemon.message(stream, packets.FIN))
    answer = talk.hear(stream)
    assert (answer.messages[-1], answer.status) == (packets.FIN, "0")


@pytest.mark.parametrize(
    ("metadata", "paths"),
    [
        ([("followpaths", ".dockerignore")], []),
        ([("followpaths", "d")], ["d", "d/x"]),
        ([("include-patterns", "%C3%A9*"), ("include-patterns-encoded", "1")], ["é.txt"]),
        ([("exclude-patterns", "d"), ("exclude-patterns", "*.log")], ["é.txt"]),
    ],
)
def test_only_what_is_asked_for_is_sent(context: Path, metadata: list[tuple[str, str]], paths: list[str]) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    assert announced(talk, talk.call(SYNC, metadata=[("dir-name", "context"), *metadata])) == paths


def test_lists_are_decoded_as_a_whole() -> None:
    metadata = {"k": ["a+b", "%C3%A9"], "k-encoded": ["1"], "plain": ["a+b"], "off": ["%41"], "off-encoded": ["0"]}
    assert read_list(metadata, "k") == ["a b", "é"]
    assert read_list(metadata, "plain") == ["a+b"]
    assert read_list(metadata, "off") == ["%41"]
    assert read_list(metadata, "none") == []


@pytest.mark.parametrize("metadata", [[("dir-name", "other")], []])
def test_an_unknown_folder_is_refused(context: Path, metadata: list[tuple[str, str]]) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    answer = talk.hear(talk.call(SYNC, metadata=metadata))
    assert answer.status == str(int(GrpcStatus.NOT_FOUND))
    assert "no access to folder" in answer.trailers["grpc-message"]


def test_a_malformed_pattern_is_said(context: Path) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    answer = talk.hear(talk.call(SYNC, metadata=[("dir-name", "context"), ("exclude-patterns", "[")]))
    assert answer.status != "0"
    assert "malformed pattern" in answer.trailers["grpc-message"]


def test_a_file_that_vanishes_fails_the_transfer(context: Path) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    stream = talk.call(SYNC, metadata=[("dir-name", "context")])
    announced(talk, stream)
    (context / "d" / "x").unlink()
    talk.say(daemon.message(stream, packets.encode_request(1)))
    answer = talk.hear(stream)
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert packets.decode_packet(answer.messages[-1]).kind is PacketKind.ERROR
    assert "d/x" in answer.trailers["grpc-message"]


def granted(talk: Conversation, stream: int) -> list[int]:
    """By how much the daemon's window for the stream was widened, each time."""
    return [
        http2_streams.read_word(size)
        for kind, _, each, size in talk.frames
        if kind == FrameType.WINDOW_UPDATE and each == stream
    ]


def test_requests_come_by_the_window_as_files_go_out(context: Path) -> None:
    files = {f"f{number:04}": bytes([number % 256]) * 10 for number in range(1800)}
    for name, content in files.items():
        (context / name).write_bytes(content)
    talk = Conversation(FileSyncService({"context": context}))
    stream = talk.call(SYNC, metadata=[("dir-name", "context"), ("include-patterns", "f*")])
    announced(talk, stream)
    requests = b"".join(packets.frame_packet(packets.encode_request(number)) for number in range(len(files)))
    for start in range(0, len(requests), http2.FIRST_WINDOW):
        talk.say(daemon.data(stream, requests[start : start + http2.FIRST_WINDOW]))
        assert sum(granted(talk, stream)) == start  # what was asked for has to go out first
        talk.listen()
    answer = talk.answer(stream)
    decoded = [packets.decode_packet(message) for message in answer.messages]
    assert {packet.id: packet.content for packet in decoded if packet.content} == dict(enumerate(files.values()))


def test_an_error_longer_than_the_window_comes_through(context: Path) -> None:
    talk = Conversation(FileSyncService({"context": context}))
    stream = talk.call(SYNC, metadata=[("dir-name", "context")])
    announced(talk, stream)
    error = packets.frame_packet(packets.encode_error("no space left on device " + "x" * 5 * http2.FIRST_WINDOW))
    for start in range(0, len(error), http2.FIRST_WINDOW):
        assert sum(granted(talk, stream)) == start
        talk.say(daemon.data(stream, error[start : start + http2.FIRST_WINDOW]))
        talk.listen()
    assert "no space left on device" in talk.hear(stream).trailers["grpc-message"]


# --- results


def pieces(*contents: bytes) -> list[bytes]:
    return [daemon.wrap(content) for content in contents]


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.tar"
    talk = Conversation(FileSendService({2: FileTarget(path=target)}))
    stream = talk.call(SEND, *pieces(b"abc", b"", b"def"), end=False, metadata=[(EXPORTER, "2")])
    assert not target.exists()
    talk.say(daemon.message(stream, daemon.wrap(b"g"), end=True))
    assert talk.hear(stream).status == "0"
    assert target.read_bytes() == b"abcdefg"
    assert list(target.parent.iterdir()) == [target]


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    target.write_text("before")
    talk = Conversation(FileSendService({0: FileTarget(path=target)}))
    talk.call(SEND, *pieces(b"half"), end=False)
    talk.session.close()
    assert target.read_text() == "before"


def test_a_large_result_flows_on_as_it_is_written(tmp_path: Path) -> None:
    talk = Conversation(FileSendService({0: FileTarget(path=tmp_path / "out")}))
    stream = talk.call(SEND)
    for _ in range(12):
        talk.say(daemon.message(stream, daemon.wrap(b"x" * (1 << 20))))
    while (FrameType.WINDOW_UPDATE, stream) not in [(type_, each) for type_, _, each, _ in talk.frames]:
        talk.listen()
    talk.say(daemon.message(stream, b"", end=True))
    assert talk.hear(stream).status == "0"
    assert (tmp_path / "out").stat().st_size == 12 << 20


def test_standard_output() -> None:
    output = io.BytesIO()
    talk = Conversation(FileSendService({0: FileTarget(path=None)}, stdout=lambda: output))
    assert talk.hear(talk.call(SEND, *pieces(b"tar"))).status == "0"
    assert not output.closed, "standard output is not ours to close"
    assert output.getvalue() == b"tar"


def test_a_fifo_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    talk = Conversation(FileSendService({0: FileTarget(path=fifo)}))
    assert talk.hear(talk.call(SEND, *pieces(b"tar"))).status == "0"
    assert os.read(reader, 10) == b"tar"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "out"
    talk = Conversation(FileSendService({0: FileTarget(path=target)}))
    answer = talk.hear(talk.call(SEND, *pieces(b"tar")))
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert answer.trailers["grpc-message"].startswith(f"cannot write {target}: ")


def test_a_full_disk_leaves_no_trace(tmp_path: Path) -> None:
    talk = Conversation(FileSendService({0: FileTarget(path=Path("/dev/full"))}))
    answer = talk.hear(talk.call(SEND, *pieces(b"tar")))
    assert answer.trailers["grpc-message"] == "cannot write /dev/full: No space left on device"


def test_whatever_goes_wrong_ends_the_call() -> None:
    def absent() -> io.BytesIO:
        raise AttributeError("there is no standard output")

    talk = Conversation(FileSendService({0: FileTarget(path=None)}, stdout=absent))
    answer = talk.hear(talk.call(SEND, *pieces(b"tar")))
    assert answer.trailers["grpc-message"] == "cannot write to standard output: there is no standard output"


def test_an_unknown_exporter() -> None:
    talk = Conversation(FileSendService({}))
    answer = talk.hear(talk.call(SEND, metadata=[(EXPORTER, "x")]))
    assert answer.trailers["grpc-message"] == "exporter x has no destination"


def test_a_folder_is_received(context: Path, tmp_path: Path) -> None:
    """Our own sender plays the daemon's."""
    target = tmp_path / "out" / "deep"
    talk = Conversation(FileSendService({0: FolderTarget(path=target)}))
    stream = talk.call(SEND)
    sender = TreeSender(walk_tree(context), root=context)
    taken = 0
    while not sender.finished:
        produced = sender.produce(8192)
        if produced:
            talk.say(daemon.data(stream, produced))
            continue
        talk.listen()
        for message in talk.answer(stream).messages[taken:]:
            taken += 1
            sender.receive(message)
    assert talk.hear(stream).status == "0"
    assert (target / "d" / "x").read_bytes() == b"x" * 100_000
    assert sorted(path.name for path in target.iterdir()) == ["d", "no.log", "é.txt"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    talk = Conversation(FileSendService({0: FolderTarget(path=tmp_path / "file")}))
    answer = talk.hear(talk.call(SEND))
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert answer.trailers["grpc-message"].startswith(f"cannot write to {tmp_path / 'file'}: ")


def test_a_folder_whose_transfer_breaks_off(tmp_path: Path) -> None:
    talk = Conversation(FileSendService({0: FolderTarget(path=tmp_path)}))
    answer = talk.hear(talk.call(SEND, b""))
    assert "ended before it was complete" in answer.trailers["grpc-message"]
