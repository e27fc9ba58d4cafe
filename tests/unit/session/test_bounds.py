"""A hostile buildkitd gets few threads and little memory, whatever it asks for."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_buildx.fsutil import entry, packets
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import RegistryLogin
from ci_buildx.session import auth, filesend, filesync, ssh
from ci_buildx.session.auth import CREDENTIALS_REQUEST, AuthService, CredentialsRequest, SecretsService
from ci_buildx.session.call import (
    LARGEST_MESSAGE,
    LARGEST_REQUEST,
    MOST_UNREAD,
    MOST_UNSENT,
    MOST_WAITING,
    GrpcStatus,
    SessionCall,
)
from ci_buildx.session.content import ContentService
from ci_buildx.session.file_targets import FileTarget, FolderTarget
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.oci_layout import OciLayout
from ci_buildx.session.session import Attachable, BuildSession
from ci_buildx.session.ssh import Ask, SocketSshAgent, SshService
from ci_buildx.wire import hpack, http2, http2_streams
from ci_buildx.wire.http2_streams import FrameType
from tests.unit.session import daemon
from tests.unit.session.conversation import Conversation
from tests.unit.session.daemon import Answer

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
SEND = "/moby.filesync.v1.FileSend/DiffCopy"
FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
INFO, READ, WRITE = (f"/containerd.services.content.v1.Content/{name}" for name in ("Info", "Read", "Write"))
HEALTH = "/grpc.health.v1.Health/Check"
IN_LAYOUT = (("buildkit-attachable-store-id", "export"),)
ASKED = CREDENTIALS_REQUEST.encode(CredentialsRequest("r.io"))


class SlowLogins:
    """Answers nothing until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def lookup(self, _: str) -> RegistryLogin | None:
        self.released.wait(30)
        return RegistryLogin(username="me", secret=Secret("x"))


@pytest.fixture
def logins() -> Iterator[SlowLogins]:
    """Logins that block until the test ends."""
    made = SlowLogins()
    yield made
    made.released.set()


def begin(*attachables: Attachable) -> BuildSession:
    session = BuildSession(attachables, shared_key="key", id="id")
    session.take_incoming(daemon.wrap(daemon.greeting()))
    return session


def count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_call_with_many_messages_takes_one_thread(logins: SlowLogins) -> None:
    session = begin(AuthService(logins.lookup))
    before = count("auth")
    session.take_incoming(daemon.wrap(daemon.request(1, CREDENTIALS) + b"".join([daemon.message(1, b"")] * 1000)))
    assert count("auth") - before <= 1


def test_calls_that_are_taken_back_leave_no_threads_and_no_queue(logins: SlowLogins) -> None:
    session = begin(AuthService(logins.lookup))
    before = count("auth")
    tracemalloc.start()
    for stream in range(1, 10_001, 2):
        call = daemon.request(stream, CREDENTIALS) + daemon.message(stream, ASKED, end=True)
        session.take_incoming(
            daemon.wrap(call + http2_streams.encode_rst_stream(stream, http2_streams.ErrorCode.CANCEL))
        )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count("auth") - before <= auth.THREADS
    assert size < 2 << 20
    assert not session.failure or "broke the session's protocol" in session.failure


def test_questions_wait_for_their_turn(logins: SlowLogins) -> None:
    answered: list[str] = []

    def lookup(host: str) -> RegistryLogin | None:
        logins.lookup(host)
        answered.append(host)
        return None

    session = begin(AuthService(lookup))
    asked = auth.THREADS + 50
    for number in range(asked):
        stream = 2 * number + 1
        question = CREDENTIALS_REQUEST.encode(CredentialsRequest(f"{number}.io"))
        session.take_incoming(
            daemon.wrap(daemon.request(stream, CREDENTIALS) + daemon.message(stream, question, end=True))
        )
    logins.released.set()
    deadline = threading.Event()
    for _ in range(300):
        if len(answered) == asked:
            break
        deadline.wait(0.1)
    assert len(answered) == asked < MOST_WAITING


def test_connections_to_agents_are_few(tmp_path: Path) -> None:
    session = begin(SshService({"default": SocketSshAgent(tmp_path / "none")}))
    before = count("ssh")
    path = "/moby.sshforward.v1.SSH/ForwardAgent"
    for stream in range(1, 4_001, 2):
        session.take_incoming(
            daemon.wrap(
                daemon.request(stream, path) + http2_streams.encode_rst_stream(stream, http2_streams.ErrorCode.CANCEL)
            )
        )
    assert count("ssh") - before <= ssh.THREADS


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail if the block has ever held more than ``size`` bytes of new memory."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size


def refused(answer: Answer, why: str) -> None:
    assert (answer.status, why in answer.trailers["grpc-message"]) == (str(int(GrpcStatus.RESOURCE_EXHAUSTED)), True), (
        answer
    )


# --- headers


def repeated(stream: int, path: str, times: int) -> bytes:
    """A call whose headers have 4,000 bytes ``times`` over: they stand in HPACK's table once, and are one byte each."""
    block = hpack.encode_headers([(b":path", path.encode()), (b"dir-name", b"context")])
    if stream == 1:
        name, value = b"exclude-patterns", b"x" * 4000
        block += b"\x40" + bytes((len(name),)) + name + b"\x7f" + b"\xa1\x1e" + value
    return http2_streams.encode_frame(FrameType.HEADERS, http2_streams.END_HEADERS, stream, block + b"\xbe" * times)


@pytest.mark.parametrize("path", [SECRET, CREDENTIALS, SYNC, INFO, "/nobody.knows/This"])
def test_small_headers_that_decode_to_large_ones_are_not_kept(path: str, tmp_path: Path) -> None:
    session = begin(
        SecretsService({}), AuthService(lambda _: None), FileSyncService({"context": tmp_path}), ContentService({})
    )
    with at_most(32 << 20):
        for call in range(120):
            session.take_incoming(daemon.wrap(repeated(2 * call + 1, path, 1000)))
    assert not session.failure


def test_headers_beyond_the_announced_size_end_the_session() -> None:
    session = begin(SecretsService({}))
    with at_most(32 << 20):
        session.take_incoming(daemon.wrap(repeated(1, SECRET, 2000)))
    assert (
        session.failure
        == f"buildkitd broke the session's protocol: HPACK block larger than {http2.LARGEST_HEADERS} bytes"
    )


def test_a_name_that_is_long_is_not_given_back_whole(tmp_path: Path) -> None:
    long = "x" * (1 << 20)
    for path, metadata in (("/" + long, ()), (SYNC, (("dir-name", long),)), (SEND, ((filesend.EXPORTER, long),))):
        talk = Conversation(FileSyncService({"context": tmp_path}), FileSendService({}))
        assert len(talk.hear(talk.call(path, metadata=metadata)).trailers["grpc-message"]) < 1000


def test_the_paths_of_unknown_calls_are_not_kept() -> None:
    session = begin(SecretsService({}))
    with at_most(32 << 20):
        for call in range(40):
            session.take_incoming(daemon.wrap(daemon.request(2 * call + 1, "/" + "x" * (3 << 20))))
    assert not session.failure


# --- messages


def bulk(call: SessionCall) -> None:
    call.holds_credit = call.is_bulk = True


class Service:
    """Does with calls what the test wants."""

    methods = ("/test/Do",)

    def __init__(self, accept: Callable[[SessionCall], None]) -> None:
        self._accept = accept

    def accept(self, call: SessionCall) -> None:
        self._accept(call)


def sent(session: BuildSession) -> list[daemon.Frame]:
    return daemon.split(daemon.unwrap(next(session.take_outgoing())))


def test_unread_messages_of_all_calls_fit_into_a_hundred_mebibytes() -> None:
    session = begin(Service(bulk))
    session.take_incoming(
        daemon.wrap(b"".join(daemon.request(2 * call + 1, "/test/Do") for call in range(http2.MAX_STREAMS)))
    )
    granted = [
        http2_streams.read_word(size)
        for kind, _, stream, size in sent(session)
        if kind == FrameType.WINDOW_UPDATE and stream
    ]
    assert sum(granted) + http2.MAX_STREAMS * http2.FIRST_WINDOW < 100 << 20
    assert len([size for size in granted if size > http2.SMALL_WINDOW]) == http2.MOST_WIDE


def test_a_call_has_its_turn_to_be_wide_when_another_ends() -> None:
    session = begin(Service(bulk))
    many = http2.MOST_WIDE + 3
    session.take_incoming(daemon.wrap(b"".join(daemon.request(2 * call + 1, "/test/Do") for call in range(many))))
    sent(session)
    waiting = 2 * http2.MOST_WIDE + 1
    for ended, widened in ((waiting, None), (1, waiting + 2), (3, waiting + 4), (5, None)):
        session.take_incoming(
            daemon.wrap(
                http2_streams.encode_rst_stream(ended, http2_streams.ErrorCode.CANCEL)
                + http2_streams.encode_frame(FrameType.PING, 0, 0, bytes(8))
            )
        )
        updated = [stream for kind, _, stream, _ in sent(session) if kind == FrameType.WINDOW_UPDATE]
        assert updated == ([] if widened is None else [widened])


def test_a_large_message_is_taken_only_where_large_ones_come(tmp_path: Path) -> None:
    talk = Conversation(SecretsService({}), ContentService({"export": OciLayout(tmp_path, writable=True)}))
    prefix = b"\0" + (LARGEST_REQUEST + 1).to_bytes(4, "big")
    for path, metadata in ((SECRET, ()), (HEALTH, ()), (INFO, IN_LAYOUT), (READ, IN_LAYOUT)):
        stream = talk.call(path, metadata=metadata)
        talk.say(daemon.data(stream, prefix))
        refused(talk.hear(stream), f"message of {LARGEST_REQUEST + 1} bytes is larger than {LARGEST_REQUEST}")
    stream = talk.call(WRITE, metadata=IN_LAYOUT)
    talk.say(daemon.data(stream, b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big")))
    refused(talk.hear(stream), f"is larger than {LARGEST_MESSAGE}")


def test_small_messages_that_wait_are_few(tmp_path: Path) -> None:
    held = threading.Event()

    class Held:
        @contextmanager
        def open_connection(self) -> Iterator[Ask]:
            held.wait(30)
            yield lambda _: ssh.FAILURE

    before = count("ssh")
    talk = Conversation(SshService({"default": Held()}))
    stream = talk.call(FORWARD)
    with at_most(16 << 20):
        for _ in range(MOST_UNREAD // 1000 + 1):
            talk.say(b"".join([daemon.message(stream, b"")] * 1000))
    refused(talk.hear(stream), f"more than {MOST_UNREAD} messages wait to be read")
    held.set()
    wait_for(lambda: count("ssh") == before)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", [CREDENTIALS, SECRET, HEALTH, CHECK, INFO, READ])
def test_a_call_that_takes_one_message_takes_no_second(path: str, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layout = {"export": OciLayout(tmp_path)}
    calls: list[SessionCall] = []

    class Auths(AuthService):
        def accept(self, call: SessionCall) -> None:
            super().accept(call)
            calls.append(call)

    class Slow(SlowLogins):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        def lookup(self, host: str) -> RegistryLogin | None:
            self.asked += 1
            return super().lookup(host)

    slow = Slow()
    talk = Conversation(Auths(slow.lookup), SecretsService({}), SshService({}), ContentService(layout))
    stream = talk.call(path, metadata=IN_LAYOUT)
    for _ in range(100):
        talk.say(daemon.message(stream, ASKED if path == CREDENTIALS else b""))
    answer = talk.hear(stream)
    assert len(answer.messages) <= 1
    assert slow.asked <= 1
    slow.released.set()


# --- answers


def test_answers_that_nobody_reads_end_the_call() -> None:
    class Talkative:
        @contextmanager
        def open_connection(self) -> Iterator[Ask]:
            yield lambda _: b"x" * (100 << 10)

    before = count("ssh")
    session = begin(SshService({"default": Talkative()}))
    session.take_incoming(
        daemon.wrap(http2_streams.encode_settings({http2_streams.ConnectionSetting.INITIAL_WINDOW_SIZE: 0}))
    )
    session.take_incoming(daemon.wrap(daemon.request(1, FORWARD)))
    with at_most(16 << 20):
        for _ in range(100):
            asked = daemon.wrap(ssh.encode_text(bytes((ssh.REQUEST_IDENTITIES,))))
            session.take_incoming(daemon.wrap(daemon.message(1, asked)))
        wait_for(lambda: count("ssh") == before)
    heard: list[daemon.Frame] = []
    outgoing = session.take_outgoing()
    while not (answer := daemon.answers(heard).get(1, Answer())).trailers:
        heard += daemon.split(daemon.unwrap(next(outgoing)))
    refused(answer, f"more than {MOST_UNSENT} bytes of responses are unread")


# --- folders that are sent


def ask_for(talk: Conversation, patterns: list[str]) -> int:
    return talk.call(SYNC, metadata=[("dir-name", "context"), *(("exclude-patterns", one) for one in patterns)])


def test_patterns_are_bounded_over_all_folders_that_are_on_their_way(tmp_path: Path) -> None:
    talk = Conversation(FileSyncService({"context": tmp_path}))
    several = 4096
    first = [ask_for(talk, ["x"] * several) for _ in range(filesync.MOST_PATTERNS // several)]
    refused(talk.hear(ask_for(talk, ["x"] * several)), f"more than {filesync.MOST_PATTERNS} patterns")
    talk.say(daemon.message(first[0], packets.FIN))
    assert talk.hear(first[0]).status == "0"
    stream = ask_for(talk, ["x"] * several)
    talk.say(daemon.message(stream, packets.FIN))
    assert talk.hear(stream).status == "0"


def test_patterns_are_bounded_by_their_size(tmp_path: Path) -> None:
    talk = Conversation(FileSyncService({"context": tmp_path}))
    several = ["x" * 1000] * 250
    with at_most(64 << 20):
        streams = [ask_for(talk, several) for _ in range(5)]
    refused(talk.hear(streams[-1]), f"patterns of more than {filesync.MOST_PATTERN_BYTES} bytes")


def test_folders_on_their_way_are_few(tmp_path: Path) -> None:
    talk = Conversation(FileSyncService({"context": tmp_path}))
    streams = [ask_for(talk, []) for _ in range(filesync.MOST_CALLS + 1)]
    refused(talk.hear(streams[-1]), f"more than {filesync.MOST_CALLS} folders are requested at once")
    talk.say(daemon.message(streams[0], packets.FIN))
    assert talk.hear(streams[0]).status == "0"
    later = ask_for(talk, [])
    talk.say(daemon.message(later, packets.FIN))
    assert talk.hear(later).status == "0"


def test_a_file_is_asked_for_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    talk = Conversation(FileSyncService({"context": tmp_path}))
    stream = ask_for(talk, [])
    talk.say(daemon.message(stream, packets.encode_request(0)) * 2)
    answer = talk.hear(stream)
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert "no file has the number 0, or it was already requested" in answer.trailers["grpc-message"]


# --- results that are received


def test_folders_that_are_written_are_few(tmp_path: Path) -> None:
    talk = Conversation(FileSendService({0: FolderTarget(path=tmp_path / "out")}))
    streams = [talk.call(SEND) for _ in range(filesend.MOST_FOLDERS + 1)]
    refused(talk.hear(streams[-1]), f"more than {filesend.MOST_FOLDERS} folders are written at once")
    talk.say(http2_streams.encode_rst_stream(streams[0], http2_streams.ErrorCode.CANCEL))
    talk.say(daemon.message(talk.call(SEND), packets.encode_stat(TreeEntry(b"d", entry.DIRECTORY | 0o755))))
    assert (tmp_path / "out" / "d").is_dir()


def test_files_that_are_written_are_few(tmp_path: Path) -> None:
    before = count("output")
    talk = Conversation(FileSendService({0: FileTarget(path=tmp_path / "out")}))
    streams = [talk.call(SEND) for _ in range(filesend.THREADS + 1)]
    refused(talk.hear(streams[-1]), f"more than {filesend.THREADS} calls of output at once")
    assert count("output") - before <= filesend.THREADS
    talk.session.close()
    wait_for(lambda: count("output") == before)


def test_a_broken_message_ends_its_thread(tmp_path: Path) -> None:
    before = count("content")
    talk = Conversation(ContentService({"export": OciLayout(tmp_path, writable=True)}))
    stream = talk.call(WRITE, metadata=IN_LAYOUT)
    talk.say(daemon.data(stream, b"\1\0\0\0\1"))
    assert talk.hear(stream).status == str(int(GrpcStatus.UNIMPLEMENTED))
    wait_for(lambda: count("content") == before)
