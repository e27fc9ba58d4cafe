"""The SSH agent's protocol, as far as a build may speak it: which keys there are, and signatures by them.

Source: draft-ietf-sshm-ssh-agent (sections 3 and 4). BuildKit 0.34.2 (``session/sshforward/sshprovider``) refuses the
rest, too: adding, removing and locking keys, and extensions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

FAILURE = b"\x05"
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
ALLOWED = (REQUEST_IDENTITIES, SIGN_REQUEST)
LARGEST = 256 << 10
"""Bytes of a message (OpenSSH 9.9, ``ssh-agent.c``: ``AGENT_MAX_LEN``)."""

_LENGTH = struct.Struct(">I")


class Requests:
    """Cuts messages out of a stream of bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now. Raises ValueError for one that is too long."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            size = length(bytes(self._rest[: _LENGTH.size]))
            end = _LENGTH.size + size
            if len(self._rest) < end:
                return
            message = bytes(self._rest[_LENGTH.size : end])
            del self._rest[:end]
            yield message


def length(head: bytes) -> int:
    """The size that stands before a message. Raises ValueError if that is too much."""
    (size,) = _LENGTH.unpack(head)
    if size > LARGEST:
        raise ValueError(f"a message of {size} bytes to an SSH agent is too long")
    return int(size)


def text(value: bytes) -> bytes:
    """Bytes after their length: a string, and a whole message, on the wire."""
    return _LENGTH.pack(len(value)) + value


def take(message: bytes) -> tuple[bytes, bytes]:
    """The string at the beginning, and the rest. Raises ValueError if it is cut off."""
    size = _LENGTH.unpack(message[: _LENGTH.size])[0] if len(message) >= _LENGTH.size else len(message)
    end = _LENGTH.size + size
    if end > len(message):
        raise ValueError("a message to an SSH agent is cut off")
    return message[_LENGTH.size : end], message[end:]


def number(message: bytes) -> int:
    """The 32 bits at the beginning. Raises ValueError if there are fewer."""
    if len(message) < _LENGTH.size:
        raise ValueError("a message to an SSH agent is cut off")
    return int(_LENGTH.unpack(message[: _LENGTH.size])[0])


def count(amount: int) -> bytes:
    """32 bits."""
    return _LENGTH.pack(amount)
