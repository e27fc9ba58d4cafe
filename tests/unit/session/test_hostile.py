"""A daemon that says anything at all to a whole session: it gets answers or the session ends, without hang or crash."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import packets
from ci_buildx.session.auth import SecretsService
from ci_buildx.session.file_targets import FolderTarget
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import BuildSession
from ci_buildx.wire import http2_streams
from ci_buildx.wire.http2_streams import FrameType
from tests.unit.session import daemon

PATHS = (
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/grpc.health.v1.Health/Check",
    "/nobody.knows/This",
)
LISTS = ("dir-name", "include-patterns", "exclude-patterns", "followpaths", "exclude-patterns-encoded")
STREAMS = st.sampled_from([1, 3, 5, 7])
VALUES = st.sampled_from(["context", "a", "**", "!a", "[", "%zz", "é", "../..", "\\", "1"])
METADATA = st.lists(st.tuples(st.sampled_from(LISTS), VALUES), max_size=4).map(
    lambda pairs: (("dir-name", "context"), *pairs)
)
PACKETS = st.one_of(
    st.integers(0, 5).map(packets.encode_request),
    st.just(packets.FIN),
    st.text(max_size=2000).map(packets.encode_error),
    st.integers(0, 3).map(lambda number: packets.make_data_header(number, 0)),
    st.binary(max_size=20),
)


@st.composite
def said(draw: st.DrawFn) -> bytes:
    """One thing that a daemon may say: in order, out of order, or nonsense."""
    stream = draw(STREAMS)
    kind = draw(
        st.sampled_from(["call", "message", "message", "window", "settings", "reset", "ping", "frame", "bytes"])
    )
    if kind == "call":
        return daemon.request(stream, draw(st.sampled_from(PATHS)), end=draw(st.booleans()), metadata=draw(METADATA))
    if kind == "message":
        return daemon.message(stream, draw(PACKETS), end=draw(st.booleans()))
    if kind == "window":
        return http2_streams.encode_window_update(
            draw(st.sampled_from([0, stream])), draw(st.integers(0, http2_streams.LARGEST_WINDOW))
        )
    if kind == "settings":
        return http2_streams.encode_settings(
            {http2_streams.ConnectionSetting.INITIAL_WINDOW_SIZE: draw(st.integers(0, http2_streams.LARGEST_WINDOW))}
        )
    if kind == "reset":
        return http2_streams.encode_rst_stream(stream, http2_streams.ErrorCode.CANCEL)
    if kind == "ping":
        return http2_streams.encode_frame(FrameType.PING, draw(st.integers(0, 1)), 0, b"12345678")
    if kind == "frame":
        return http2_streams.encode_frame(
            draw(st.sampled_from(FrameType)), draw(st.integers(0, 255)), stream, draw(st.binary(max_size=30))
        )
    return draw(st.binary(max_size=30))


@given(st.lists(said(), max_size=30), st.integers(1, 200))
def test_anything_is_answered_or_ends_the_session(sentences: list[bytes], size: int) -> None:
    folder = Path(__file__).parent
    services = (
        FileSyncService({"context": folder}),
        FileSendService({0: FolderTarget(path=Path(__file__) / "there")}),
        SecretsService({}),
    )
    session = BuildSession(services, shared_key="key", id="id")
    outgoing = session.take_outgoing()
    talk = daemon.greeting() + b"".join(sentences)
    next(outgoing)  # the greeting
    for start in range(0, len(talk), size):
        session.take_incoming(daemon.wrap(talk[start : start + size]))
    session.close()
    rest = b"".join(daemon.unwrap(message) for message in outgoing)
    assert len(rest) < 1 << 20
    assert not session.failure or "broke the session's protocol" in session.failure
