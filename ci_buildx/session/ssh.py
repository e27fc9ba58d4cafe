"""SSH agent forwarding. Only listing keys and signing are allowed.

Source: draft-ietf-sshm-ssh-agent (sections 3 and 4). BuildKit 0.34.2 (``session/sshforward/sshprovider``) also refuses
everything else: adding, removing and locking keys, and extensions.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.session.call import GrpcStatus, SessionCall, Workers
from ci_buildx.wire import protobuf

FAILURE = b"\x05"
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
ALLOWED = (REQUEST_IDENTITIES, SIGN_REQUEST)
LARGEST = 256 << 10
"""Maximum bytes of a message (OpenSSH 9.9, ``ssh-agent.c``: ``AGENT_MAX_LEN``)."""

_LENGTH = struct.Struct(">I")


class AgentRequests:
    """Splits a byte stream into agent messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete now. Raises ValueError if a message is too long."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            size = read_length(bytes(self._rest[: _LENGTH.size]))
            end = _LENGTH.size + size
            if len(self._rest) < end:
                return
            message = bytes(self._rest[_LENGTH.size : end])
            del self._rest[:end]
            yield message


def read_length(head: bytes) -> int:
    """Read the size before a message. Raises ValueError if it is too large."""
    (size,) = _LENGTH.unpack(head)
    if size > LARGEST:
        raise ValueError(f"a message of {size} bytes to an SSH agent is too long")
    return int(size)


def encode_text(value: bytes) -> bytes:
    """Encode a string, or a whole message, with its length before it."""
    return _LENGTH.pack(len(value)) + value


def take_text(message: bytes) -> tuple[bytes, bytes]:
    """Return the string at the beginning, and the rest. Raises ValueError if the string is truncated."""
    size = _LENGTH.unpack(message[: _LENGTH.size])[0] if len(message) >= _LENGTH.size else len(message)
    end = _LENGTH.size + size
    if end > len(message):
        raise ValueError("a message to an SSH agent is cut off")
    return message[_LENGTH.size : end], message[end:]


def read_number(message: bytes) -> int:
    """Read the 32-bit number at the beginning. Raises ValueError if the message is shorter."""
    if len(message) < _LENGTH.size:
        raise ValueError("a message to an SSH agent is cut off")
    return int(_LENGTH.unpack(message[: _LENGTH.size])[0])


def encode_count(amount: int) -> bytes:
    """Encode a 32-bit number."""
    return _LENGTH.pack(amount)


_LOG = debug.get_log("session")
_SERVICE = "/moby.sshforward.v1.SSH/"
_ID = "buildkit.ssh.id"
_DEFAULT = "default"
_ID_FIELD = _DATA_FIELD = 1
_PREFIX = 5
_CONNECT = 2.0

Ask = Callable[[bytes], bytes]
"""Maps a request to its response, both without their length."""
THREADS = 64
"""Maximum number of connections to agents."""

_WORKERS = Workers("ssh", limit=THREADS, must_start=True)


class SshAgent(Protocol):
    """A holder of SSH keys."""

    def open_connection(self) -> AbstractContextManager[Ask]:
        """Connect. Raises KubeBuilderError if the agent is unreachable."""


class SocketSshAgent:
    """The agent that listens on the socket ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def open_connection(self) -> Iterator[Ask]:
        """Connect; responses have no timeout, because an agent may ask its user first.

        Raises KubeBuilderError if the connection fails.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.settimeout(_CONNECT)
                connection.connect(str(self._path))
                connection.settimeout(None)
                yield lambda request: _ask_agent(connection, request)
            except OSError as error:
                reason = error.strerror or str(error)
                raise KubeBuilderError(f"cannot connect to the SSH agent at {self._path}: {reason}") from error


class SshService:
    """Serves ``agents`` by their id."""

    methods = (_SERVICE + "CheckAgent", _SERVICE + "ForwardAgent")

    def __init__(self, agents: Mapping[str, SshAgent]) -> None:
        self._agents = dict(agents)

    def accept(self, call: SessionCall) -> None:
        """Check that an agent exists, or connect to it."""
        if call.path.endswith("/CheckAgent"):
            call.take_one(lambda message: self._check(call, message))
            return
        name = call.metadata.get(_ID, [""])[0] or _DEFAULT
        _LOG.debug("ssh: connection to agent %r", name)
        if found := self._agents.get(name):
            _forward_agent(call, found)
        else:
            call.finish(GrpcStatus.UNKNOWN, _make_missing_error(name))

    def _check(self, call: SessionCall, message: bytes) -> None:
        name = _require_known(message, _ID_FIELD).decode() or _DEFAULT
        _LOG.debug("ssh: is there an agent %r?", name)
        if name in self._agents:
            call.reply(b"")
        else:
            call.finish(GrpcStatus.UNKNOWN, _make_missing_error(name))


def _forward_agent(call: SessionCall, found: SshAgent) -> None:
    """Serve the connection in a separate thread, because an agent may be slow."""
    messages: SimpleQueue[bytes | None] = SimpleQueue()

    def work() -> None:
        call.run(_serve_agent, call, found, messages)
        call.finish()

    call.holds_credit = True
    call.on_message = messages.put
    call.on_end = lambda: messages.put(None)
    call.on_lost = lambda _: messages.put(None)
    _WORKERS.submit(call, work)


def _serve_agent(call: SessionCall, found: SshAgent, messages: SimpleQueue[bytes | None]) -> None:
    requests = AgentRequests()
    with found.open_connection() as ask:
        while (message := messages.get()) is not None:
            for request in requests.feed(_require_known(message, _DATA_FIELD)):
                answer = ask(request) if request[:1] and request[0] in ALLOWED else FAILURE
                call.send(protobuf.encode_length_delimited(_DATA_FIELD, encode_text(answer)))
            call.return_credit(len(message) + _PREFIX)


def _ask_agent(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(encode_text(request))
    return _receive_exactly(connection, read_length(_receive_exactly(connection, 4)))


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("it closed the connection")
        received += piece
    return bytes(received)


def _require_known(message: bytes, number: int) -> bytes:
    found = [value for field, _, value in protobuf.read_fields(message) if field == number and isinstance(value, bytes)]
    return found[-1] if found else b""


def _make_missing_error(name: str) -> str:
    return f"no SSH agent {name!r} is forwarded; add --ssh {name}"
