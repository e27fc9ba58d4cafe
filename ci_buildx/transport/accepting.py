"""Accepts connections to a listening socket until another socket can be read."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator

_PAUSE = 100
"""Milliseconds until the next connection is accepted after one could not be: the process has no descriptor left."""


def accept_connections(
    listener: socket.socket, wake: socket.socket, note: Callable[[str], None]
) -> Iterator[socket.socket]:
    """Yield connections until ``wake`` can be read; ``note`` is called with the reason why one was not accepted."""
    both, alarm = select.poll(), select.poll()
    both.register(listener, select.POLLIN)
    both.register(wake, select.POLLIN)
    alarm.register(wake, select.POLLIN)
    while all(descriptor != wake.fileno() for descriptor, _ in both.poll()):
        try:
            local, _ = listener.accept()
        except OSError as error:
            note(f"a connection cannot be accepted: {error.strerror or error}")
            alarm.poll(_PAUSE)
            continue
        yield local
