"""A daemon that talks to a whole session, in one thread: it says something, then listens until it has its answer."""

from collections.abc import Sequence

from ci_buildx.session.session import Attachable, BuildSession
from tests.unit.session import daemon
from tests.unit.session.daemon import Answer, Frame

WIDE = (1 << 31) - 1 - 65535


class Conversation:
    """``hear`` waits for what must come: where it doesn't, the test's time is over."""

    def __init__(self, *attachables: Attachable) -> None:
        self.session = BuildSession(attachables, shared_key="key", id="id")
        self._outgoing = self.session.take_outgoing()
        self._heard = b""
        self._stream = -1
        self.say(daemon.greeting(INITIAL_WINDOW_SIZE=(1 << 31) - 1))
        self.say(b"\0\0\4\x08\0\0\0\0\0" + WIDE.to_bytes(4, "big"))
        self.listen()

    def say(self, data: bytes) -> None:
        self.session.take_incoming(daemon.wrap(data))

    def call(self, path: str, *messages: bytes, end: bool = True, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Begin a call and send its messages; returns its stream."""
        self._stream += 2
        self.say(daemon.request(self._stream, path, metadata=tuple(metadata)))
        for index, message in enumerate(messages):
            self.say(daemon.message(self._stream, message, end=end and index == len(messages) - 1))
        return self._stream

    def listen(self) -> None:
        """Take the next thing that the session sends."""
        self._heard += daemon.unwrap(next(self._outgoing))

    @property
    def frames(self) -> list[Frame]:
        """All frames that have been heard."""
        return daemon.split(self._heard)

    def answer(self, stream: int) -> Answer:
        """What has been heard on a stream so far."""
        return daemon.answers(self.frames).get(stream, Answer())

    def hear(self, stream: int, *, messages: int | None = None) -> Answer:
        """Listen until the call is over, or so many messages have come."""
        while True:
            answer = self.answer(stream)
            if answer.status or (messages is not None and len(answer.messages) >= messages):
                return answer
            self.listen()

    def ask(self, path: str, message: bytes) -> Answer:
        """A unary call."""
        return self.hear(self.call(path, message))
