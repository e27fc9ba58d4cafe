"""Blobs in and out, over the wire."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.session import content as session_content
from ci_buildx.session.call import GrpcStatus
from ci_buildx.session.content import (
    INFO_REQUEST,
    INFO_RESPONSE,
    READ_REQUEST,
    READ_RESPONSE,
    WRITE_REQUEST,
    WRITE_RESPONSE,
    Action,
    ContentService,
    Info,
    InfoRequest,
    InfoResponse,
    ReadRequest,
    ReadResponse,
    WriteRequest,
    WriteResponse,
)
from ci_buildx.session.oci_layout import LayoutRefusal, OciLayout
from ci_buildx.wire import http2_streams
from ci_buildx.wire.http2_streams import FrameType
from ci_buildx.wire.protobuf import MessageSchema
from tests.unit.session import daemon
from tests.unit.session.conversation import Conversation
from tests.unit.session.daemon import Answer
from tests.unit.wire import compiled

SERVICE = "/containerd.services.content.v1.Content/"
STORE = [("buildkit-attachable-store-id", "local:x")]
BLOB = bytes(range(256)) * 2000


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layout that has BLOB."""
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / digest(BLOB).removeprefix("sha256:")).write_bytes(BLOB)
    return tmp_path / "layout"


@pytest.fixture
def talk(folder: Path) -> Conversation:
    """A conversation with the content service about the layout in ``folder``."""
    return Conversation(ContentService({"local:x": OciLayout(folder, writable=True)}))


def ask(talk: Conversation, method: str, message: bytes) -> Answer:
    return talk.hear(talk.call(SERVICE + method, message, metadata=STORE))


def outcome(answer: Answer) -> tuple[GrpcStatus, str]:
    return GrpcStatus(int(answer.status)), answer.trailers.get("grpc-message", "")


def write(talk: Conversation, *requests: WriteRequest) -> tuple[list[WriteResponse], Answer]:
    """Each request after the answer to the one before."""
    stream = talk.call(SERVICE + "Write", metadata=STORE)
    for number, request in enumerate(requests, 1):
        talk.say(daemon.message(stream, WRITE_REQUEST.encode(request), end=number == len(requests)))
        talk.hear(stream, messages=number)
    answer = talk.hear(stream)
    return [WRITE_RESPONSE.decode(message) for message in answer.messages], answer


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_known_of_a_blob(talk: Conversation) -> None:
    (message,) = ask(talk, "Info", INFO_REQUEST.encode(InfoRequest(digest(BLOB)))).messages
    info = INFO_RESPONSE.decode(message).info
    assert info is not None
    assert (info.digest, info.size) == (digest(BLOB), len(BLOB))


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0, 0, BLOB),
        (0, 10, BLOB[:10]),
        (7, 300_000, BLOB[7:300_007]),
        (len(BLOB) - 1, 10, BLOB[-1:]),
        (len(BLOB), 0, b""),
        (-1, 1, BLOB[:1]),
    ],
)
def test_a_part_of_a_blob(talk: Conversation, offset: int, size: int, expected: bytes) -> None:
    answer = ask(talk, "Read", READ_REQUEST.encode(ReadRequest(digest(BLOB), offset, size)))
    pieces = [READ_RESPONSE.decode(message) for message in answer.messages]
    assert answer.status == "0"
    assert b"".join(piece.data for piece in pieces) == expected
    assert [piece.offset for piece in pieces[:1]] == [max(0, offset)][: len(pieces)]


@pytest.mark.parametrize(
    ("method", "message", "status"),
    [
        ("Info", INFO_REQUEST.encode(InfoRequest(digest(b"other"))), GrpcStatus.NOT_FOUND),
        ("Info", INFO_REQUEST.encode(InfoRequest("../../etc/passwd")), GrpcStatus.INVALID_ARGUMENT),
        ("Info", b"\xff", GrpcStatus.INVALID_ARGUMENT),
        ("Read", READ_REQUEST.encode(ReadRequest(digest(b"other"))), GrpcStatus.NOT_FOUND),
        ("Read", READ_REQUEST.encode(ReadRequest("sha256:" + "../" * 21 + "x")), GrpcStatus.INVALID_ARGUMENT),
        ("Read", READ_REQUEST.encode(ReadRequest(digest(BLOB), len(BLOB) + 1)), GrpcStatus.OUT_OF_RANGE),
        ("Delete", b"", GrpcStatus.UNIMPLEMENTED),
    ],
)
def test_what_cannot_be_answered(talk: Conversation, method: str, message: bytes, status: GrpcStatus) -> None:
    assert outcome(ask(talk, method, message))[0] == status


def test_an_unknown_store(talk: Conversation) -> None:
    answer = talk.hear(talk.call(SERVICE + "Info", b""))
    assert outcome(answer) == (GrpcStatus.NOT_FOUND, "unknown store ''")


def test_a_blob_that_shrinks_while_it_is_read(folder: Path) -> None:
    talk = Conversation(ContentService({"local:x": OciLayout(folder)}))
    large = folder / "blobs" / "sha256" / ("0" * 64)
    large.write_bytes(b"x" * (4 << 20))
    stream = talk.call(SERVICE + "Read", READ_REQUEST.encode(ReadRequest("sha256:" + "0" * 64)), metadata=STORE)
    talk.hear(stream, messages=1)
    large.write_bytes(b"")
    assert outcome(talk.hear(stream))[1].endswith("was truncated while it was read")


def test_a_blob_is_written(talk: Conversation, folder: Path) -> None:
    new, expected = b"new content", digest(b"new content")
    responses, answer = write(
        talk,
        WriteRequest(Action.STAT, total=11, expected=expected),
        WriteRequest(Action.WRITE, data=b"new "),
        WriteRequest(Action.WRITE, offset=4, data=b"content"),
        WriteRequest(Action.COMMIT, offset=11, total=11, expected=expected),
    )
    assert answer.status == "0"
    assert [response.offset for response in responses] == [0, 4, 11, 11]
    assert responses[-1] == WriteResponse(Action.COMMIT, 11, 11, expected)
    assert (folder / "blobs" / "sha256" / expected.removeprefix("sha256:")).read_bytes() == new
    assert len(names(folder)) == 2


def test_writing_begins_again_at_zero(talk: Conversation) -> None:
    responses, answer = write(
        talk,
        WriteRequest(Action.WRITE, data=b"wrong and longer"),
        WriteRequest(Action.WRITE, data=b"right"),
        WriteRequest(Action.COMMIT, offset=5),
    )
    assert (answer.status, responses[-1].digest) == ("0", digest(b"right"))


@pytest.mark.parametrize(
    ("requests", "status", "text"),
    [
        ([WriteRequest(expected=digest(BLOB))], GrpcStatus.ALREADY_EXISTS, "already exists"),
        ([WriteRequest(expected="sha256:x")], GrpcStatus.INVALID_ARGUMENT, "is not a digest"),
        (
            [WriteRequest(Action.WRITE, data=b"a"), WriteRequest(Action.COMMIT, offset=1, expected=digest(b"b"))],
            GrpcStatus.FAILED_PRECONDITION,
            f"the written content has digest {digest(b'a')}",
        ),
        (
            [WriteRequest(Action.WRITE, data=b"a"), WriteRequest(Action.COMMIT, offset=1, total=2)],
            GrpcStatus.FAILED_PRECONDITION,
            "1 bytes were written of 2",
        ),
        (
            [WriteRequest(Action.WRITE, offset=3, data=b"a")],
            GrpcStatus.OUT_OF_RANGE,
            "offset 3 of 0 received bytes",
        ),
        ([WriteRequest(Action.WRITE, data=b"no commit")], GrpcStatus.OK, ""),
    ],
)
def test_nothing_is_left_of_what_is_not_committed(
    talk: Conversation, folder: Path, requests: list[WriteRequest], status: GrpcStatus, text: str
) -> None:
    found, said = outcome(write(talk, *requests)[1])
    assert (found, text in said) == (status, True)
    assert names(folder) == [f"blobs/sha256/{digest(BLOB).removeprefix('sha256:')}"]


def test_a_layout_to_read_is_not_written(folder: Path) -> None:
    talk = Conversation(ContentService({"local:x": OciLayout(folder)}))
    _, answer = write(talk, WriteRequest(Action.WRITE, data=b"a"))
    assert outcome(answer) == (GrpcStatus.INVALID_ARGUMENT, f"{folder} is read-only")


def test_a_call_that_is_lost_leaves_nothing(talk: Conversation, folder: Path) -> None:
    stream = talk.call(SERVICE + "Write", metadata=STORE)
    talk.say(daemon.message(stream, WRITE_REQUEST.encode(WriteRequest(Action.WRITE, data=b"half"))))
    talk.hear(stream, messages=1)
    (partial,) = (folder / "ingest").iterdir()
    talk.say(http2_streams.encode_frame(FrameType.RST_STREAM, 0, stream, bytes(4)))
    deadline = time.monotonic() + 20
    while partial.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert list((folder / "ingest").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    talk = Conversation(ContentService({"local:x": OciLayout(tmp_path / "file", writable=True)}))
    _, answer = write(talk, WriteRequest(Action.WRITE, data=b"a"))
    assert outcome(answer) == (GrpcStatus.UNKNOWN, f"cannot use {tmp_path / 'file'}: Not a directory")


@pytest.mark.parametrize("link", ["ingest", "blobs", "blobs/sha256"])
def test_no_link_of_the_layout_leads_out_of_it(link: str, tmp_path: Path) -> None:
    """A cache's folder may come with the checkout."""
    folder, outside = tmp_path / "layout", tmp_path / "outside"
    outside.mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(outside)
    talk = Conversation(ContentService({"local:x": OciLayout(folder, writable=True)}))
    _, answer = write(talk, WriteRequest(Action.COMMIT, data=BLOB, total=len(BLOB)))
    status, message = outcome(answer)
    assert status == GrpcStatus.FAILED_PRECONDITION
    assert message.endswith(f" leads out of {folder} by a symbolic link")
    assert list(outside.rglob("*")) == []


@given(st.text(max_size=80))
def test_no_digest_leads_out_of_the_layout(text: str) -> None:
    layout = OciLayout(Path("/layout"))
    for name in (text, f"sha256:{text}", f"sha256:/{text}"):
        with pytest.raises(LayoutRefusal):
            layout.open(name)


@pytest.fixture(scope="module")
def content_proto() -> Any:
    """The module that protoc makes of content.proto, to compare our messages with."""
    return compiled.load("session/content.proto")


@pytest.mark.parametrize(
    ("ours", "value"),
    [
        (INFO_REQUEST, InfoRequest("d")),
        (READ_REQUEST, ReadRequest("d", 1, 2)),
        (READ_RESPONSE, ReadResponse(1, b"d")),
        (WRITE_REQUEST, WriteRequest(Action.COMMIT, 3, "e", 4, b"d")),
        (WRITE_RESPONSE, WriteResponse(Action.WRITE, 3, 4, "d")),
    ],
)
def test_the_messages_are_those_of_the_definition(content_proto: Any, ours: MessageSchema[Any], value: Any) -> None:
    theirs = getattr(content_proto, type(value).__name__)(**value._asdict()).SerializeToString()
    assert ours.encode(value) == theirs
    assert ours.decode(theirs) == value


def test_times_are_those_of_the_definition(content_proto: Any) -> None:
    message = content_proto.InfoResponse(info=content_proto.Info(digest="d", size=1))
    message.info.created_at.FromMilliseconds(1500)
    message.info.updated_at.FromMilliseconds(2500)
    value = InfoResponse(Info("d", 1, 1.5, 2.5))
    assert session_content.INFO_RESPONSE.encode(value) == message.SerializeToString()
