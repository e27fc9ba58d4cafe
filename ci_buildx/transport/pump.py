"""Channels of a Kubernetes stream (data, errors, status), and the pump between a local socket and a WebSocket."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from typing import Protocol

from ci_buildx.kube.websocket import WebSocket

_KEPT = 2048
"""Bytes of error text to keep, from the end, which holds the reason."""


class StreamChannels(Protocol):
    """One way to use the channels. ``outgoing`` is the number of the channel that we send on."""

    outgoing: int

    def receive(self, message: memoryview) -> memoryview:
        """Process a message, channel number first, and return its stream data, possibly empty."""
        ...

    @property
    def failure(self) -> str:
        """The other side's error message, "" if there is none."""
        ...


class PortForwardChannels:
    """Channels of one forwarded port: 0 carries data, 1 an error text.

    Each channel's first message is the port number, two bytes (kubelet v0.34.2, ``pkg/cri/streaming/portforward/
    websocket.go``, protocol v4.channel.k8s.io). The newer v2.portforward.k8s.io tunnels SPDY and gains nothing here.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._greeted: set[int] = set()
        self._error = b""

    def receive(self, message: memoryview) -> memoryview:
        """Return the data of channel 0."""
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
        """The kubelet's error text, including its reason."""
        return self._error.decode(errors="replace").strip()


class ExecChannels:
    """Channels of a command: 0 is its input, 1 its output, 2 its errors, 3 the Status at its end.

    Source: kubelet v0.34.2, ``pkg/cri/streaming/remotecommand/websocket.go``.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._errors = b""
        self._status = b""

    def receive(self, message: memoryview) -> memoryview:
        """Return the data of channel 1."""
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
        """How the command ended, and the last line of its standard error."""
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return ": ".join(part for part in (_read_exit(self._status), lines[-1] if lines else "") if part)


def _read_exit(status: bytes) -> str:
    if not status:
        return ""
    try:
        answer = json.loads(status)
        return "" if answer["status"] == "Success" else str(answer.get("message") or answer.get("reason") or "failed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return status.decode(errors="replace").strip()


class TunnelPump:
    """One tunnel's data pump. ``wake`` is a socket that becomes readable when the pump must end."""

    def __init__(self, local: socket.socket, remote: WebSocket, channels: StreamChannels, wake: socket.socket) -> None:
        local.setblocking(False)
        self._local = local
        self._remote = remote
        self._channels = channels
        self._wake = wake
        self._down: list[memoryview] = []
        self._local_ended = False

    def run(self) -> bool:
        """Pump until one side ends or ``wake`` is readable; return True if the remote side ended.

        Raises OSError or ProtocolError if the WebSocket breaks.
        """
        while True:
            try:
                moved = self._pump_up()
            except OSError:
                self._read_close_reason()
                raise
            moved = self._pump_down() or moved
            if self._remote.ended and not self._down:
                return True
            if self._local_ended or (not moved and self._wait_until_woken()):
                return False

    def _pump_up(self) -> bool:
        """Move data from the local socket to the WebSocket; return whether anything moved."""
        remote = self._remote
        received = 0
        if remote.has_room:
            try:
                received = self._local.recv_into(remote.room)
            except BlockingIOError:
                return False
            except ConnectionError:
                received = 0
            if not received:
                self._local_ended = True
                return True
            remote.dispatch(received, self._channels.outgoing)
        return remote.flush() or received > 0

    def _read_close_reason(self) -> None:
        """Read what the other side sent before it hung up while we were sending."""
        with contextlib.suppress(OSError, ValueError):
            while messages := self._remote.receive():
                for message in messages:
                    self._channels.receive(message)

    def _pump_down(self) -> bool:
        """Move data from the WebSocket to the local socket; return whether anything moved."""
        if self._down:
            return self._deliver()
        if self._remote.ended:
            return False
        messages = self._remote.receive()
        if messages is None:
            return False
        self._down = [content for content in map(self._channels.receive, messages) if content]
        self._deliver()
        return True

    def _deliver(self) -> bool:
        """Send the buffered data to the local socket; return whether any was sent."""
        delivered = False
        while self._down:
            try:
                sent = self._local.send(self._down[0])
            except BlockingIOError:
                break
            except ConnectionError:
                self._local_ended = True
                break
            delivered = True
            self._down[0] = self._down[0][sent:]
            if not self._down[0]:
                del self._down[0]
        return delivered

    def _wait_until_woken(self) -> bool:
        """Wait until data can move; return True if the pump must end."""
        local = (select.POLLIN if self._remote.has_room else 0) | (select.POLLOUT if self._down else 0)
        reading = 0 if self._down or self._remote.ended else select.POLLIN
        remote = reading | (select.POLLOUT if self._remote.sending else 0)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        # An end without events must not be registered: poll would report its hang-up again and again.
        for end, events in ((self._local, local), (self._remote, remote)):
            if events:
                poll.register(end, events)
        return any(descriptor == self._wake.fileno() for descriptor, _ in poll.poll())
