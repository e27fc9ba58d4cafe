"""Moves bytes between a local socket and a WebSocket: one thread, one poll loop, one buffer each way.

Back-pressure goes through: a side is read only when what it said before has been handed on. Bytes from the local
socket are received into the outgoing frame itself, so they are copied only by the kernel and by TLS.
"""

from __future__ import annotations

import contextlib
import select
import socket

from ci_buildx.kube.stream import WebSocket
from ci_buildx.transport.channels import Channels


class Pump:
    """One tunnel. ``wake`` is a socket that becomes readable when the pump must end."""

    def __init__(self, local: socket.socket, remote: WebSocket, channels: Channels, wake: socket.socket) -> None:
        local.setblocking(False)
        self._local = local
        self._remote = remote
        self._channels = channels
        self._wake = wake
        self._down: list[memoryview] = []
        self._local_ended = False

    def run(self) -> bool:
        """Pump until one side ends or ``wake`` is readable; True if it was the other side that ended.

        Raises OSError or ProtocolError when the WebSocket breaks.
        """
        while True:
            try:
                moved = self._pump_up()
            except OSError:
                self._hear_reason()
                raise
            moved = self._pump_down() or moved
            if self._remote.ended and not self._down:
                return True
            if self._local_ended or (not moved and self._woken()):
                return False

    def _pump_up(self) -> bool:
        """From the local socket into the WebSocket; whether anything moved."""
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

    def _hear_reason(self) -> None:
        """The other side hung up while we were sending; what it said before that may still be unread."""
        with contextlib.suppress(OSError, ValueError):
            while messages := self._remote.receive():
                for message in messages:
                    self._channels.receive(message)

    def _pump_down(self) -> bool:
        """From the WebSocket to the local socket; whether anything moved."""
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
        """Hand on what is held; whether any of it went."""
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

    def _woken(self) -> bool:
        """Wait until something can move; True if the pump must end."""
        local = (select.POLLIN if self._remote.has_room else 0) | (select.POLLOUT if self._down else 0)
        reading = 0 if self._down or self._remote.ended else select.POLLIN
        remote = reading | (select.POLLOUT if self._remote.sending else 0)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        # Without an event to wait for, poll would still report a hang-up, again and again.
        for end, events in ((self._local, local), (self._remote, remote)):
            if events:
                poll.register(end, events)
        return any(descriptor == self._wake.fileno() for descriptor, _ in poll.poll())
