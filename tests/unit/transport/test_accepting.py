"""Accepting connections when the process has no descriptor left."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from ci_buildx.transport import accepting


class Exhausted(socket.socket):
    """A listening socket whose first connections cannot be accepted."""

    left = 2

    def accept(self) -> tuple[socket.socket, object]:
        """Fail as the system does without a free descriptor, then accept."""
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_a_connection_that_cannot_be_accepted_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "_PAUSE", 1)
    said: list[str] = []
    with Exhausted() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        wake, alarm = socket.socketpair()
        with wake, alarm, socket.create_connection(listener.getsockname()):
            found = accepting.accept_connections(listener, wake, said.append)
            next(found).close()
            alarm.close()
            assert list(found) == []
    assert said == ["a connection cannot be accepted: Too many open files"] * 2
