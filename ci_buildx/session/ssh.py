"""``moby.sshforward.v1.SSH``: RUN steps and git sources use SSH keys without getting them.

Source: BuildKit 0.34.2, ``session/sshforward`` (``ssh.proto``, ``ssh.go``: which agent is meant comes as metadata, each
connection of a step is a call of its own, whose messages are pieces of the agent's stream).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.protobuf import wire
from ci_buildx.session import agent
from ci_buildx.session.call import Call, Workers
from ci_buildx.session.status import Status

_LOG = debug.get_log("session")
_SERVICE = "/moby.sshforward.v1.SSH/"
_ID = "buildkit.ssh.id"
_DEFAULT = "default"
_ID_FIELD = _DATA_FIELD = 1
_PREFIX = 5
_CONNECT = 2.0

Ask = Callable[[bytes], bytes]
"""From a request to its answer, both without their length."""
THREADS = 64
"""Connections to agents at once."""

_WORKERS = Workers("ssh", limit=THREADS, must_start=True)


class Agent(Protocol):
    """What holds keys."""

    def opened(self) -> AbstractContextManager[Ask]:
        """Connect. KubeBuilderError if it cannot be reached."""


class SocketAgent:
    """The agent that listens at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[Ask]:
        """Connect; an agent may ask its user before it answers, so that waits without end."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.settimeout(_CONNECT)
                connection.connect(str(self._path))
                connection.settimeout(None)
                yield lambda request: _ask(connection, request)
            except OSError as error:
                reason = error.strerror or str(error)
                raise KubeBuilderError(f"cannot speak to the SSH agent at {self._path}: {reason}") from error


class Ssh:
    """Serves ``agents`` by their id."""

    methods = (_SERVICE + "CheckAgent", _SERVICE + "ForwardAgent")

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = dict(agents)

    def accept(self, call: Call) -> None:
        """Say whether there is an agent, or connect to one."""
        if call.path.endswith("/CheckAgent"):
            call.take_one(lambda message: self._check(call, message))
            return
        name = call.metadata.get(_ID, [""])[0] or _DEFAULT
        _LOG.debug("ssh: connection to agent %r", name)
        if found := self._agents.get(name):
            _forward(call, found)
        else:
            call.finish(Status.UNKNOWN, _missing(name))

    def _check(self, call: Call, message: bytes) -> None:
        name = _only(message, _ID_FIELD).decode() or _DEFAULT
        _LOG.debug("ssh: is there an agent %r?", name)
        if name in self._agents:
            call.reply(b"")
        else:
            call.finish(Status.UNKNOWN, _missing(name))


def _forward(call: Call, found: Agent) -> None:
    """Answer in a thread of its own: an agent may take its time."""
    messages: SimpleQueue[bytes | None] = SimpleQueue()

    def work() -> None:
        call.run(_serve, call, found, messages)
        call.finish()

    call.holds_credit = True
    call.on_message = messages.put
    call.on_end = lambda: messages.put(None)
    call.on_lost = lambda _: messages.put(None)
    _WORKERS.submit(call, work)


def _serve(call: Call, found: Agent, messages: SimpleQueue[bytes | None]) -> None:
    requests = agent.Requests()
    with found.opened() as ask:
        while (message := messages.get()) is not None:
            for request in requests.feed(_only(message, _DATA_FIELD)):
                answer = ask(request) if request[:1] and request[0] in agent.ALLOWED else agent.FAILURE
                call.send(wire.length_delimited(_DATA_FIELD, agent.text(answer)))
            call.consumed(len(message) + _PREFIX)


def _ask(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(agent.text(request))
    return _receive(connection, agent.length(_receive(connection, 4)))


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("it closed the connection")
        received += piece
    return bytes(received)


def _only(message: bytes, number: int) -> bytes:
    found = [value for field, _, value in wire.fields(message) if field == number and isinstance(value, bytes)]
    return found[-1] if found else b""


def _missing(name: str) -> str:
    return f"no SSH agent {name!r} is forwarded; add --ssh {name}"
