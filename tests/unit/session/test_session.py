import threading
from collections.abc import Callable

import pytest

from ci_buildx.errors import InputError
from ci_buildx.session.call import LARGEST_MESSAGE, GrpcStatus, SessionCall
from ci_buildx.session.session import PING_INTERVAL, BuildSession
from ci_buildx.wire import http2
from ci_buildx.wire.http2_streams import FrameType
from tests.unit.session import daemon
from tests.unit.session.conversation import Conversation

HEALTH = "/grpc.health.v1.Health/Check"


class Service:
    """An attachable made of one function."""

    methods = ("/test/Do",)

    def __init__(self, accept: Callable[[SessionCall], None]) -> None:
        self.accept = accept


def serving(accept: Callable[[SessionCall], None]) -> Conversation:
    return Conversation(Service(accept))


def echo(call: SessionCall) -> None:
    call.on_message = call.send
    call.on_end = call.finish


def test_metadata() -> None:
    session = BuildSession([Service(echo)], shared_key="app:1", id="some-id")
    assert session.metadata == (
        ("x-docker-expose-session-uuid", "some-id"),
        ("x-docker-expose-session-sharedkey", "app:1"),
        ("x-docker-expose-session-grpc-method", "/test/Do"),
        ("x-docker-expose-session-grpc-method", HEALTH),
        ("x-buildkit-session-health-custom-timeout", "180000"),
    )


def test_a_silent_daemon_is_asked_for_a_sign_of_life_once() -> None:
    now = 100.0
    session = BuildSession([], shared_key="", clock=lambda: now)
    sent = session.take_outgoing()
    session.take_incoming(daemon.wrap(daemon.greeting()))
    first = daemon.unwrap(next(sent))
    now += PING_INTERVAL
    assert session.silence == PING_INTERVAL
    asked = daemon.unwrap(next(sent))
    assert daemon.split(asked) == [(FrameType.PING, 0, 0, bytes(8))]
    now += 57
    session.take_incoming(daemon.wrap(daemon.request(1, HEALTH, end=True)))  # anything that comes is a sign of life
    assert session.silence == 0
    kinds = [kind for kind, *_ in daemon.split(daemon.unwrap(next(sent)))]
    assert FrameType.PING not in kinds
    assert FrameType.SETTINGS in [kind for kind, *_ in daemon.split(first)]


def test_a_key_that_is_no_header_is_escaped() -> None:
    metadata = dict(BuildSession([], shared_key="é a").metadata)
    assert metadata["x-docker-expose-session-sharedkey"] == "%C3%A9+a"
    assert metadata["x-docker-expose-session-sharedkey-encoded"] == "1"


def test_each_session_has_an_id_of_its_own() -> None:
    assert BuildSession([], shared_key="").id != BuildSession([], shared_key="").id


def test_health() -> None:
    answer = Conversation().ask(HEALTH, b"")
    assert (answer.messages, answer.status) == ([b"\x08\x01"], "0")
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}


def test_unknown_method() -> None:
    answer = Conversation().ask("/test/Nothing", b"")
    assert answer.status == str(GrpcStatus.UNIMPLEMENTED)
    assert answer.trailers["grpc-message"] == "unknown method /test/Nothing"


def test_messages_in_pieces_and_together() -> None:
    talk = serving(echo)
    stream = talk.call("/test/Do", b"a" * 40_000, b"", b"b")
    assert talk.hear(stream).messages == [b"a" * 40_000, b"", b"b"]


def test_metadata_of_a_call() -> None:
    seen: dict[str, list[str]] = {}

    def accept(call: SessionCall) -> None:
        seen.update(call.metadata)
        call.finish()

    talk = serving(accept)
    talk.hear(talk.call("/test/Do", metadata=[("k", "1"), ("k", "2"), ("other", "x")]))
    assert seen == {"te": ["trailers"], "k": ["1", "2"], "other": ["x"]}


def test_the_message_of_a_failure_is_percent_encoded() -> None:
    talk = serving(lambda call: call.finish(GrpcStatus.UNKNOWN, "100% é\nbad"))
    assert talk.hear(talk.call("/test/Do")).trailers == {"grpc-status": "2", "grpc-message": "100%25 %C3%A9%0Abad"}


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("no such thing", source="--x"), GrpcStatus.UNKNOWN, "--x: no such thing"),
        (ValueError("malformed"), GrpcStatus.INVALID_ARGUMENT, "malformed"),
        (KeyError("k"), GrpcStatus.INTERNAL, "/test/Do failed: KeyError: 'k'"),
    ],
)
@pytest.mark.parametrize("where", ["accept", "message", "producer"])
def test_what_goes_wrong_in_a_service_ends_its_call_only(
    error: Exception, status: GrpcStatus, text: str, where: str
) -> None:
    def fail(_: object) -> bytes:
        raise error

    def accept(call: SessionCall) -> None:
        if where == "accept":
            fail(call)
        elif where == "message":
            call.on_message = fail  # type: ignore[assignment]
        else:
            call.produce(fail)

    talk = serving(accept)
    answer = talk.ask("/test/Do", b"x")
    assert (answer.status, answer.trailers["grpc-message"]) == (str(int(status)), text)
    assert talk.ask(HEALTH, b"").status == "0"


def test_bulk_is_pulled_and_what_is_made_arrives_before_the_end() -> None:
    left = [b"\0\0\0\0\1a" * 1000] * 300

    def accept(call: SessionCall) -> None:
        def produce(room: int) -> bytes:
            made = left.pop()
            if not left:
                call.finish()
            return made

        call.produce(produce)

    talk = serving(accept)
    answer = talk.hear(talk.call("/test/Do"))
    assert (len(answer.messages), answer.status) == (300_000, "0")


def test_a_producer_is_asked_again_after_a_wake() -> None:
    calls: list[SessionCall] = []
    made = [b"", b"\0\0\0\0\1a", b""]

    def accept(call: SessionCall) -> None:
        calls.append(call)
        call.produce(lambda _: made.pop())
        call.on_message = lambda _: call.wake()

    talk = serving(accept)
    stream = talk.call("/test/Do")
    talk.listen()
    assert talk.answer(stream).messages == []
    talk.say(daemon.message(stream, b""))
    talk.listen()
    assert talk.answer(stream).messages == [b"a"]


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        (b"\x01\0\0\0\1", GrpcStatus.UNIMPLEMENTED),
        (b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big"), GrpcStatus.RESOURCE_EXHAUSTED),
    ],
)
def test_messages_that_are_not_taken(prefix: bytes, status: GrpcStatus) -> None:
    talk = serving(echo)
    stream = talk.call("/test/Do")
    talk.say(bytes((0, 0, len(prefix), 0, 0, 0, 0, 0, stream)) + prefix)
    assert talk.hear(stream).status == str(int(status))
    talk.say(bytes((0, 0, 4, 0, 0, 0, 0, 0, stream)) + b"more")
    assert not talk.session.failure


def test_a_message_of_the_largest_size_fits_even_where_credit_is_held() -> None:
    got: list[int] = []

    def accept(call: SessionCall) -> None:
        call.holds_credit = call.is_bulk = True
        call.on_message = lambda message: got.append(len(message))

    talk = serving(accept)
    talk.call("/test/Do", b"x" * LARGEST_MESSAGE)
    assert got == [LARGEST_MESSAGE]
    assert LARGEST_MESSAGE + 5 <= http2.WIDE_WINDOW


def test_a_cancelled_call_hears_of_it() -> None:
    lost: list[str] = []

    def accept(call: SessionCall) -> None:
        call.on_lost = lost.append

    talk = serving(accept)
    stream = talk.call("/test/Do")
    talk.say(bytes((0, 0, 4, 3, 0, 0, 0, 0, stream)) + (8).to_bytes(4, "big"))
    assert lost == ["buildkitd ended the call (CANCEL)"]


def test_close_ends_calls_and_the_stream() -> None:
    lost: list[str] = []

    def accept(call: SessionCall) -> None:
        call.on_lost = lost.append

    talk = serving(accept)
    talk.call("/test/Do")
    talk.session.close()
    talk.session.close()
    assert lost == ["the session was closed"]
    talk.listen()
    with pytest.raises(StopIteration):
        talk.listen()
    talk.say(b"too late")


def test_close_unblocks_a_thread_that_waits() -> None:
    session = BuildSession([], shared_key="")
    ended = threading.Event()

    def run() -> None:
        for _ in session.take_outgoing():
            pass
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    session.close()
    thread.join()
    assert ended.is_set()


@pytest.mark.parametrize("said", [daemon.wrap(b"GET / HTTP/1.1"), b"\x0a\xff"])
def test_a_broken_protocol_is_the_sessions_failure(said: bytes) -> None:
    session = BuildSession([], shared_key="")
    session.take_incoming(said)
    assert session.failure.startswith("buildkitd broke the session's protocol: ")
    assert len(list(session.take_outgoing())) == 1


def test_crumbs_are_sent_after_all_when_the_window_stays_narrow() -> None:
    session = BuildSession([Service(lambda call: call.produce(lambda room: b"x" * room))], shared_key="")
    session.take_incoming(daemon.wrap(daemon.greeting(INITIAL_WINDOW_SIZE=1000) + daemon.request(1, "/test/Do")))
    outgoing = session.take_outgoing()
    heard = daemon.unwrap(next(outgoing)) + daemon.unwrap(next(outgoing))
    assert daemon.answers(daemon.split(heard))[1].data == b"x" * 1000
