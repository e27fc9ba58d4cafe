"""A hostile buildkitd gets few threads and little memory, whatever it asks for."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.model.secret import Secret
from ci_buildx.registry.dockerconfig import Login
from ci_buildx.session import auth, frames, ssh
from ci_buildx.session.auth import Auth
from ci_buildx.session.call import MOST_WAITING
from ci_buildx.session.messages import CREDENTIALS_REQUEST, CredentialsRequest
from ci_buildx.session.session import Session
from ci_buildx.session.ssh import SocketAgent, Ssh
from tests.unit.session import daemon

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
ASKED = CREDENTIALS_REQUEST.encode(CredentialsRequest("r.io"))


class SlowLogins:
    """Answers nothing until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def lookup(self, _: str) -> Login | None:
        self.released.wait(30)
        return Login(username="me", secret=Secret("x"))


@pytest.fixture
def logins() -> Iterator[SlowLogins]:
    made = SlowLogins()
    yield made
    made.released.set()


def begin(*attachables: Auth | Ssh) -> Session:
    session = Session(attachables, shared_key="key", id="id")
    session.incoming(daemon.wrap(daemon.greeting()))
    return session


def count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_call_with_many_messages_takes_one_thread(logins: SlowLogins) -> None:
    session = begin(Auth(logins.lookup))
    before = count("auth")
    session.incoming(daemon.wrap(daemon.request(1, CREDENTIALS) + b"".join([daemon.message(1, b"")] * 1000)))
    assert count("auth") - before <= 1


def test_calls_that_are_taken_back_leave_no_threads_and_no_queue(logins: SlowLogins) -> None:
    session = begin(Auth(logins.lookup))
    before = count("auth")
    tracemalloc.start()
    for stream in range(1, 10_001, 2):
        call = daemon.request(stream, CREDENTIALS) + daemon.message(stream, ASKED, end=True)
        session.incoming(daemon.wrap(call + frames.rst_stream(stream, frames.Code.CANCEL)))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count("auth") - before <= auth.THREADS
    assert size < 2 << 20
    assert not session.failure or "broke the session's protocol" in session.failure


def test_questions_wait_for_their_turn(logins: SlowLogins) -> None:
    answered: list[str] = []

    def lookup(host: str) -> Login | None:
        logins.lookup(host)
        answered.append(host)
        return None

    session = begin(Auth(lookup))
    asked = auth.THREADS + 50
    for number in range(asked):
        stream = 2 * number + 1
        question = CREDENTIALS_REQUEST.encode(CredentialsRequest(f"{number}.io"))
        session.incoming(daemon.wrap(daemon.request(stream, CREDENTIALS) + daemon.message(stream, question, end=True)))
    logins.released.set()
    deadline = threading.Event()
    for _ in range(300):
        if len(answered) == asked:
            break
        deadline.wait(0.1)
    assert len(answered) == asked < MOST_WAITING


def test_connections_to_agents_are_few(tmp_path: Path) -> None:
    session = begin(Ssh({"default": SocketAgent(tmp_path / "none")}))
    before = count("ssh")
    path = "/moby.sshforward.v1.SSH/ForwardAgent"
    for stream in range(1, 4_001, 2):
        session.incoming(daemon.wrap(daemon.request(stream, path) + frames.rst_stream(stream, frames.Code.CANCEL)))
    assert count("ssh") - before <= ssh.THREADS
