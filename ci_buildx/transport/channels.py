"""What the channels of a Kubernetes stream mean: which one carries data, and what the others tell of failures."""

from __future__ import annotations

import json
from typing import Protocol

_KEPT = 2048
"""Bytes of error text that are kept: the end of it, where the reason stands."""


class Channels(Protocol):
    """One way to use the channels. ``outgoing`` is the channel number of the bytes we send."""

    outgoing: int

    def receive(self, message: memoryview) -> memoryview:
        """Take a message, channel number first; give the bytes of the stream in it, perhaps none."""
        ...

    @property
    def failure(self) -> str:
        """What the other side said of a failure, "" for nothing."""
        ...


class PortForwardChannels:
    """One forwarded port: channel 0 data, channel 1 an error text.

    Each channel's first message is the port number, two bytes (kubelet v0.34.2, ``pkg/cri/streaming/portforward/
    websocket.go``, protocol v4.channel.k8s.io). The newer v2.portforward.k8s.io tunnels SPDY and gains nothing here.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._greeted: set[int] = set()
        self._error = b""

    def receive(self, message: memoryview) -> memoryview:
        """Data of channel 0."""
        channel, content = message[0], message[1:]
        if channel not in self._greeted:
            self._greeted.add(channel)
            content = content[2:]
        if channel == 0:
            return content
        self._error = (self._error + bytes(content))[-_KEPT:]
        return content[:0]

    @property
    def failure(self) -> str:
        """The kubelet's text, down to its reason."""
        return self._error.decode(errors="replace").strip()


class ExecChannels:
    """A command: channel 0 is its input, 1 its output, 2 its errors, 3 the Status at its end.

    Source: kubelet v0.34.2, ``pkg/cri/streaming/remotecommand/websocket.go``.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._errors = b""
        self._status = b""

    def receive(self, message: memoryview) -> memoryview:
        """Data of channel 1."""
        channel, content = message[0], message[1:]
        if channel == 1:
            return content
        if channel == 2:
            self._errors = (self._errors + bytes(content))[-_KEPT:]
        elif channel == 3:
            self._status = (self._status + bytes(content))[:_KEPT]
        return content[:0]

    @property
    def failure(self) -> str:
        """What the command wrote to standard error, and how it ended."""
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return ": ".join(part for part in (_ending(self._status), lines[-1] if lines else "") if part)


def _ending(status: bytes) -> str:
    if not status:
        return ""
    try:
        answer = json.loads(status)
        return "" if answer["status"] == "Success" else str(answer.get("message") or answer.get("reason") or "failed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return status.decode(errors="replace").strip()
